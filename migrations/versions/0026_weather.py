"""Temperatures by region; intervals of what events delivered.

Revision: 0026, after 0025
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

SETTLEMENTS = ("event_settlements", "ven_settlements")
ENDS = ("delivered_low_kw", "delivered_high_kw")


def upgrade() -> None:
    op.create_table(
        "temperatures",
        sa.Column("region", sa.Text(collation="C"), nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), nullable=False),
        sa.Column("temperature_c", sa.Double(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("region", "ts", name=op.f("pk_temperatures")),
    )
    for table in SETTLEMENTS:
        for name in ENDS:
            op.add_column(table, sa.Column(name, sa.Double(), nullable=True))


def downgrade() -> None:
    for table in SETTLEMENTS:
        for name in reversed(ENDS):
            op.drop_column(table, name)
    op.drop_table("temperatures")
