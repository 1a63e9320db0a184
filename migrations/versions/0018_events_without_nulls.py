"""The reduction of each VEN in a running event, notes on VENs that are not asked, all event fields in streams.

Revision: 0018, after 0016
"""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0016"
branch_labels = None
depends_on = None

NOTE_EVENT = """
CREATE OR REPLACE FUNCTION note_event() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO live_changes (kind, data, written_at)
    SELECT 'event', json_build_object(
        'id', e.event_id, 'status', e.status,
        'start_time', e.start_time AT TIME ZONE 'UTC', 'end_time', e.end_time AT TIME ZONE 'UTC',
        'ended_at', e.ended_at AT TIME ZONE 'UTC', 'notify_at', e.notify_at AT TIME ZONE 'UTC',
        'requested_reduction_kw', e.requested_reduction_kw, 'actual_reduction_kw', e.actual_reduction_kw,
        'priority', e.priority, 'ven_ids', e.ven_ids, 'lead_time_s', e.lead_time_s, 'notes', e.notes,
        'is_settled', EXISTS (SELECT FROM event_settlements s WHERE s.event_id = e.event_id),
        'current_reduction_kw', p.current_reduction_kw, 'delivered_kwh', p.delivered_kwh,
        'refreshed_at', p.refreshed_at AT TIME ZONE 'UTC',
        'vens_responding', coalesce(p.vens_responding, 0), 'vens_reporting', coalesce(p.vens_reporting, 0),
        'avg_response_ms', p.avg_response_ms
    ), clock_timestamp()
    FROM events e LEFT JOIN event_progress p ON p.event_id = e.event_id WHERE e.event_id = NEW.event_id;
    PERFORM pg_notify('gridgate_live', '');
    RETURN NULL;
END $$
"""
NOTE_EVENT_BEFORE = """
CREATE OR REPLACE FUNCTION note_event() RETURNS trigger LANGUAGE plpgsql AS $$
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


def upgrade() -> None:
    op.create_table(
        "event_reductions",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("event_id", sa.Text(collation="C"), nullable=False),
        sa.Column("reduction_kw", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("ven_id", "event_id", name=op.f("pk_event_reductions")),
    )
    op.add_column("events", sa.Column("notes", sa.JSON(), nullable=True))
    op.execute(NOTE_EVENT)


def downgrade() -> None:
    op.execute(NOTE_EVENT_BEFORE)
    op.drop_column("events", "notes")
    op.drop_table("event_reductions")
