"""The history of shares; settlements with the requested energy and the adjustment of the baseline.

Revision: 0015, after 0014
"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

SETTLEMENTS = ("event_settlements", "ven_settlements")


def upgrade() -> None:
    op.create_table(
        "event_shares",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("event_id", sa.Text(collation="C"), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requested_reduction_kw", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("ven_id", "event_id", "at", name="pk_event_shares"),
    )
    op.create_index("ix_event_shares_event_id", "event_shares", ["event_id"])
    # Of earlier shares only the last one is stored: from the notification of the VEN until it opted out.
    op.execute("""
        INSERT INTO event_shares
        SELECT ven_id, event_id, notified_at, requested_reduction_kw
        FROM event_participations WHERE notified_at IS NOT NULL
    """)
    op.execute("""
        INSERT INTO event_shares
        SELECT ven_id, event_id, opted_out_at, 0
        FROM event_participations WHERE opted_out_at > notified_at
    """)
    op.add_column("event_progress", sa.Column("vens_reporting", sa.Integer(), nullable=True))
    for table in SETTLEMENTS:
        op.add_column(table, sa.Column("requested_kwh", sa.Double(), nullable=True))
        op.add_column(table, sa.Column("adjustment", sa.Text(), nullable=True))
        op.add_column(table, sa.Column("adjustment_kw", sa.Double(), nullable=True))
        op.add_column(table, sa.Column("adjustment_reason", sa.Text(), nullable=True))
        # Their other figures are frozen: they were measured against the last share, for the whole event.
        op.execute(f"""
            UPDATE {table} AS settled
            SET requested_kwh = requested_kw
                * extract(epoch FROM least(end_time, ended_at) - start_time)::float8 / 3600
            FROM events WHERE events.event_id = settled.event_id
        """)


def downgrade() -> None:
    for table in SETTLEMENTS:
        for column in ("adjustment_reason", "adjustment_kw", "adjustment", "requested_kwh"):
            op.drop_column(table, column)
    op.drop_column("event_progress", "vens_reporting")
    op.drop_table("event_shares")
