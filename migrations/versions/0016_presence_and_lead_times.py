"""Reports whose device time disagrees with their receipt, for presence; and each event's own lead time.

Revision: 0016, after 0015
"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "skewed_reports",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("ven_id", "ts", name=op.f("pk_skewed_reports")),
    )
    op.create_index(
        "ix_skewed_reports_new", "skewed_reports", ["ven_id"], postgresql_where=sa.text("judged_at IS NULL")
    )
    op.add_column("events", sa.Column("lead_time_s", sa.Double(), nullable=True))
    op.execute("UPDATE events SET lead_time_s = greatest(extract(epoch FROM start_time - notify_at), 0)")


def downgrade() -> None:
    op.drop_column("events", "lead_time_s")
    op.drop_index("ix_skewed_reports_new", "skewed_reports")
    op.drop_table("skewed_reports")
