"""Alarms with their history, told by live streams; when each job last succeeded.

Revision: 0029, after 0028
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

NOTE_ALARM = """
CREATE FUNCTION note_alarm() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO live_changes (kind, data, written_at) VALUES (
        'alarm',
        json_build_object(
            'alarm_id', NEW.alarm_id, 'kind', NEW.kind, 'subject', NEW.subject, 'detail', NEW.detail,
            'value', NEW.value, 'worst_value', NEW.worst_value, 'threshold', NEW.threshold,
            'raised_at', NEW.raised_at AT TIME ZONE 'UTC', 'cleared_at', NEW.cleared_at AT TIME ZONE 'UTC',
            'acknowledged_at', NEW.acknowledged_at AT TIME ZONE 'UTC', 'acknowledged_by', NEW.acknowledged_by
        ),
        clock_timestamp()
    );
    PERFORM pg_notify('gridgate_live', '');
    RETURN NULL;
END $$
"""
SHOWN = ("cleared_at", "acknowledged_at")


def upgrade() -> None:
    op.create_table(
        "alarms",
        sa.Column("alarm_id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(collation="C"), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("worst_value", sa.Double(), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("calm_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cleared_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("alarm_id", name=op.f("pk_alarms")),
    )
    is_open = sa.text("cleared_at IS NULL")
    op.create_index("ix_alarms_open", "alarms", ["kind", "subject"], unique=True, postgresql_where=is_open)
    op.create_index("ix_alarms_cleared_at", "alarms", ["cleared_at"])
    op.create_table(
        "alarm_conditions",
        sa.Column("kind", sa.Text(collation="C"), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("clears_below", sa.Double(), nullable=False),
        sa.Column("value", sa.Double(), nullable=True),
        sa.Column("evaluated_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_alarm_conditions")),
    )
    op.add_column("job_leases", sa.Column("succeeded_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE job_leases SET succeeded_at = now()")
    op.alter_column("job_leases", "succeeded_at", nullable=False)
    op.execute(NOTE_ALARM)
    op.execute(
        "CREATE TRIGGER note_alarm_insert AFTER INSERT ON alarms FOR EACH ROW EXECUTE FUNCTION note_alarm()"
    )
    new, old = (", ".join(f"{row}.{column}" for column in SHOWN) for row in ("NEW", "OLD"))
    op.execute(
        "CREATE TRIGGER note_alarm_update AFTER UPDATE ON alarms FOR EACH ROW"
        f" WHEN (({new}) IS DISTINCT FROM ({old})) EXECUTE FUNCTION note_alarm()"
    )


def downgrade() -> None:
    """Streams of the old version would fail at changes of a kind that they do not know."""
    op.drop_table("alarms")
    op.execute("DROP FUNCTION note_alarm()")
    op.execute("DELETE FROM live_changes WHERE kind = 'alarm'")
    op.drop_table("alarm_conditions")
    op.drop_column("job_leases", "succeeded_at")
