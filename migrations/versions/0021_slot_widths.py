"""Slot widths of VENs with slower meters, with start and source.

Revision: 0021, after 0020
"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "slot_widths",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("width_s", sa.Integer(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("ven_id", "since", name=op.f("pk_slot_widths")),
    )
    op.create_index("ix_slot_widths_recorded_at", "slot_widths", ["recorded_at"])


def downgrade() -> None:
    """All slots have five minutes again: where a VEN had wider ones, the energy becomes stale."""
    op.execute(
        "INSERT INTO stale_slots (bucket) SELECT DISTINCT date_bin('30 minutes', bucket, 'epoch') + after"
        " FROM ven_history JOIN slot_widths USING (ven_id)"
        " CROSS JOIN (SELECT number * interval '5 minutes' AS after FROM generate_series(0, 5) AS number) AS offset_of"
        " WHERE resolution_s = 300 AND bucket >= since ON CONFLICT DO NOTHING"
    )
    op.drop_table("slot_widths")
