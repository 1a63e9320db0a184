"""Changes for live streams: written by triggers, positions assigned by the next reader.

Revision: 0005, after 0004
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# NOTIFY from one transaction reaches a listener once, however often it is called.
NOTE_STATUS = """
CREATE FUNCTION note_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO live_changes (kind, data, written_at) VALUES (
        'status',
        json_build_object('ven_id', NEW.ven_id, 'status', NEW.status, 'ts', NEW.status_ts AT TIME ZONE 'UTC'),
        clock_timestamp()
    );
    PERFORM pg_notify('gridgate_live', '');
    RETURN NULL;
END $$
"""
NOTE_EVENT = """
CREATE FUNCTION note_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO live_changes (kind, data, written_at)
    SELECT 'event', json_build_object(
        'id', e.event_id, 'status', e.status,
        'start_time', e.start_time AT TIME ZONE 'UTC', 'end_time', e.end_time AT TIME ZONE 'UTC',
        'requested_reduction_kw', e.requested_reduction_kw, 'actual_reduction_kw', e.actual_reduction_kw,
        'current_reduction_kw', p.current_reduction_kw, 'vens_responding', coalesce(p.vens_responding, 0),
        'avg_response_ms', p.avg_response_ms
    ), clock_timestamp()
    FROM events e LEFT JOIN event_progress p ON p.event_id = e.event_id WHERE e.event_id = NEW.event_id;
    PERFORM pg_notify('gridgate_live', '');
    RETURN NULL;
END $$
"""
TELLING = {
    "events": "(e.status, e.start_time, e.end_time, e.requested_reduction_kw, e.actual_reduction_kw)",
    "event_progress": "(e.current_reduction_kw, e.vens_responding, e.avg_response_ms)",
}
"""The columns that streams show."""


def upgrade() -> None:
    op.create_table(
        "live_changes",
        sa.Column("change_id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_live_changes")),
        postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 10_000},
    )
    op.create_index("ix_live_changes_position", "live_changes", ["position"], unique=True)
    op.create_index("ix_live_changes_written_at", "live_changes", ["written_at"])
    op.execute(NOTE_STATUS)
    op.execute(NOTE_EVENT)
    _note("status", "ven_snapshots", "INSERT", "NEW.status IS NOT NULL")
    changed = "NEW.status IS NOT NULL AND NEW.status IS DISTINCT FROM OLD.status"
    _note("status", "ven_snapshots", "UPDATE", changed)
    for table, columns in TELLING.items():
        _note("event", table, "INSERT", "true")
        new, old = columns.replace("e.", "NEW."), columns.replace("e.", "OLD.")
        _note("event", table, "UPDATE", f"{new} IS DISTINCT FROM {old}")


def _note(what: str, table: str, when: str, condition: str) -> None:
    op.execute(
        f"CREATE TRIGGER note_{what}_{when.lower()} AFTER {when} ON {table}"
        f" FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION note_{what}()"
    )


def downgrade() -> None:
    for what, table in (("event", "event_progress"), ("event", "events"), ("status", "ven_snapshots")):
        for when in ("insert", "update"):
            op.execute(f"DROP TRIGGER note_{what}_{when} ON {table}")
    op.execute("DROP FUNCTION note_event(), note_status()")
    op.drop_table("live_changes")
