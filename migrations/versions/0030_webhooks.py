"""Webhooks, and the outbox of their deliveries, filled by triggers.

Revision: 0030, after 0029
"""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None

WRITTEN_TIME = """
CREATE FUNCTION webhook_time(at timestamptz) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$
"""
QUEUE = """
CREATE FUNCTION queue_webhooks(kind text, type text, object_id text, data json) RETURNS void LANGUAGE sql AS $$
    INSERT INTO webhook_deliveries (webhook_id, type, object_id, data, created_at, next_attempt_at)
    SELECT w.webhook_id, $2, $3, $4, clock_timestamp(), clock_timestamp()
    FROM webhooks w WHERE w.enabled AND $1 = ANY (w.kinds)
$$
"""
BODIES = {
    "event": """PERFORM queue_webhooks('events', 'event.changed', 'event/' || NEW.event_id, json_build_object(
        'id', NEW.event_id, 'status', NEW.status, 'startTime', webhook_time(NEW.start_time),
        'endTime', webhook_time(coalesce(NEW.ended_at, NEW.end_time)),
        'requestedReductionKw', NEW.requested_reduction_kw, 'direction', NEW.direction,
        'priority', NEW.priority));""",
    "alarm": """PERFORM queue_webhooks('alarms', CASE
            WHEN TG_OP = 'INSERT' THEN 'alarm.raised'
            WHEN NEW.cleared_at IS NOT NULL AND OLD.cleared_at IS NULL THEN 'alarm.cleared'
            ELSE 'alarm.acknowledged' END,
        'alarm/' || NEW.alarm_id, json_build_object(
        'id', NEW.alarm_id::text, 'kind', NEW.kind, 'subject', NEW.subject, 'detail', NEW.detail,
        'value', NEW.value, 'threshold', NEW.threshold, 'raisedAt', webhook_time(NEW.raised_at),
        'clearedAt', webhook_time(NEW.cleared_at), 'acknowledgedAt', webhook_time(NEW.acknowledged_at),
        'acknowledgedBy', NEW.acknowledged_by));""",
    "status": """PERFORM queue_webhooks('presence', 'ven.status', 'ven/' || NEW.ven_id, json_build_object(
        'venId', NEW.ven_id, 'status', NEW.status, 'ts', webhook_time(NEW.status_ts)));""",
    "command": """PERFORM queue_webhooks('commands', 'command.changed', 'command/' || NEW.command_id,
        json_build_object('id', NEW.command_id, 'venId', NEW.ven_id, 'op', NEW.op, 'loadId', NEW.load_id,
        'eventId', NEW.event_id, 'status', NEW.status, 'error', left(NEW.error, 500)));""",
}
TABLES = {"event": "events", "alarm": "alarms", "status": "ven_snapshots", "command": "commands"}
CHANGED = {
    "event": "(NEW.status, NEW.start_time, NEW.end_time, NEW.ended_at, NEW.requested_reduction_kw,"
    " NEW.direction, NEW.priority) IS DISTINCT FROM (OLD.status, OLD.start_time, OLD.end_time, OLD.ended_at,"
    " OLD.requested_reduction_kw, OLD.direction, OLD.priority)",
    "alarm": "(NEW.cleared_at, NEW.acknowledged_at) IS DISTINCT FROM (OLD.cleared_at, OLD.acknowledged_at)",
    "status": "NEW.status IS NOT NULL AND NEW.status IS DISTINCT FROM OLD.status",
    "command": "NEW.status IS DISTINCT FROM OLD.status",
}
MADE = {"status": "NEW.status IS NOT NULL"}


def _instant(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("webhook_id", sa.Text(collation="C"), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("kinds", sa.ARRAY(sa.Text(collation="C")), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        _instant("created_at"),
        sa.Column("failures", sa.Integer(), server_default=sa.text("0"), nullable=False),
        *(
            _instant(name, nullable=True)
            for name in ("failing_since", "retry_at", "succeeded_at", "disabled_at")
        ),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("leased_by", sa.Text(), nullable=True),
        _instant("leased_until", nullable=True),
        sa.PrimaryKeyConstraint("webhook_id", name=op.f("pk_webhooks")),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("delivery_id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("webhook_id", sa.Text(collation="C"), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("object_id", sa.Text(collation="C"), nullable=False),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        _instant("created_at"),
        _instant("next_attempt_at"),
        _instant("closed_at", nullable=True),
        sa.Column("response_status", sa.Integer(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_webhook_deliveries")),
        postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 10_000},
    )
    is_pending = sa.text("status = 'pending'")
    pending = ["webhook_id", "object_id", "delivery_id"]
    op.create_index(
        "ix_webhook_deliveries_pending", "webhook_deliveries", pending, postgresql_where=is_pending
    )
    op.create_index(
        "ix_webhook_deliveries_next",
        "webhook_deliveries",
        ["webhook_id", "attempts", "delivery_id"],
        postgresql_where=is_pending,
    )
    op.create_index("ix_webhook_deliveries_webhook_id", "webhook_deliveries", ["webhook_id", "delivery_id"])
    op.create_index("ix_webhook_deliveries_closed_at", "webhook_deliveries", ["closed_at"])
    op.execute(WRITTEN_TIME)
    op.execute(QUEUE)
    for name, body in BODIES.items():
        _queue_changes_of(name, body)


def _queue_changes_of(name: str, body: str) -> None:
    function = f"queue_{name}_webhooks"
    op.get_bind().exec_driver_sql(
        f"CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NULL; END $$"
    )
    for when, condition in (("INSERT", MADE.get(name, "true")), ("UPDATE", CHANGED[name])):
        op.execute(
            f"CREATE TRIGGER {function}_{when.lower()} AFTER {when} ON {TABLES[name]}"
            f" FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION {function}()"
        )


def downgrade() -> None:
    for name, table in TABLES.items():
        for when in ("insert", "update"):
            op.execute(f"DROP TRIGGER queue_{name}_webhooks_{when} ON {table}")
        op.execute(f"DROP FUNCTION queue_{name}_webhooks()")
    op.execute("DROP FUNCTION queue_webhooks(text, text, text, json)")
    op.execute("DROP FUNCTION webhook_time(timestamptz)")
    op.drop_table("webhook_deliveries")
    op.drop_table("webhooks")
