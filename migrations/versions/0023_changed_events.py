"""Changes of running events, released VENs, and opt-outs of VENs.

Revision: 0023, after 0021
"""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "ven_opt_outs",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("opt_out_id", sa.Text(collation="C"), nullable=False),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("ven_id", "opt_out_id", name=op.f("pk_ven_opt_outs")),
    )
    op.create_table(
        "event_requests",
        sa.Column("event_id", sa.Text(collation="C"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requested_reduction_kw", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", "at", name=op.f("pk_event_requests")),
    )
    op.add_column("events", sa.Column("shared_reduction_kw", sa.Double(), nullable=True))
    for name in ("told_end_time", "asked_again_at", "released_at"):
        op.add_column("event_participations", sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE events SET shared_reduction_kw = requested_reduction_kw")
    op.execute(
        "UPDATE event_participations p SET told_end_time = e.end_time FROM events e"
        " WHERE e.event_id = p.event_id AND p.command_id IS NOT NULL"
    )


def downgrade() -> None:
    for name in ("released_at", "asked_again_at", "told_end_time"):
        op.drop_column("event_participations", name)
    op.drop_column("events", "shared_reduction_kw")
    op.drop_table("event_requests")
    op.drop_table("ven_opt_outs")
