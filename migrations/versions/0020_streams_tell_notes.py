"""Live streams send every change of an event's answer; the energy that each VEN has delivered so far.

Revision: 0020, after 0018
"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0018"
branch_labels = None
depends_on = None

SHOWN = {
    "events": (
        "status",
        "start_time",
        "end_time",
        "ended_at",
        "requested_reduction_kw",
        "actual_reduction_kw",
        "priority",
        "ven_ids::text",
        "lead_time_s",
        "notes::text",
    ),
    "event_progress": ("current_reduction_kw", "vens_responding", "vens_reporting", "avg_response_ms"),
}
SHOWN_BEFORE = {
    "events": ("status", "start_time", "end_time", "requested_reduction_kw", "actual_reduction_kw"),
    "event_progress": ("current_reduction_kw", "vens_responding", "avg_response_ms"),
}


def _note_changes_of(shown: dict[str, tuple[str, ...]]) -> None:
    for table, columns in shown.items():
        new, old = (", ".join(f"{row}.{column}" for column in columns) for row in ("NEW", "OLD"))
        op.execute(f"DROP TRIGGER note_event_update ON {table}")
        op.execute(
            f"CREATE TRIGGER note_event_update AFTER UPDATE ON {table} FOR EACH ROW"
            f" WHEN (({new}) IS DISTINCT FROM ({old})) EXECUTE FUNCTION note_event()"
        )


def upgrade() -> None:
    _note_changes_of(SHOWN)
    op.add_column("event_reductions", sa.Column("delivered_kwh", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("event_reductions", "delivered_kwh")
    _note_changes_of(SHOWN_BEFORE)
