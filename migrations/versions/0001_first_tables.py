"""The first tables: registry, raw rows, ledger, snapshots, history, demand response.

Revision: 0001, after
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ENSURE_RAW_PARTITIONS = """
CREATE FUNCTION ensure_raw_partitions(days date[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent text;
    day date;
    partition text;
BEGIN
    -- One maker at a time; each statement below sees what the one before us made.
    PERFORM pg_advisory_xact_lock(hashtext('ensure_raw_partitions'));
    FOREACH parent IN ARRAY ARRAY['ven_telemetry', 'ven_load_samples', 'ven_load_descriptions'] LOOP
        FOREACH day IN ARRAY days LOOP
            partition := parent || '_p' || to_char(day, 'YYYYMMDD');
            IF day >= '2020-01-01' AND to_regclass(quote_ident(partition)) IS NULL THEN
                -- Attaching, unlike CREATE ... PARTITION OF, lets readers and writers of the parent go on.
                EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', partition, parent);
                EXECUTE format(
                    'ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                    parent, partition,
                    day::timestamp AT TIME ZONE 'UTC', (day + 1)::timestamp AT TIME ZONE 'UTC'
                );
            END IF;
        END LOOP;
    END LOOP;
END $$
"""


def _archive_partition(parent: str) -> str:
    """The partition for timestamps of clocks that are years behind, which could make thousands of partitions."""
    return (
        f"CREATE TABLE {parent}_before_2020 PARTITION OF {parent} "
        "FOR VALUES FROM (MINVALUE) TO ('2020-01-01T00:00:00Z')"
    )


def upgrade() -> None:
    op.create_table(
        "commands",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("command_id", sa.Text(collation="C"), nullable=False),
        sa.Column("op", sa.Text(), nullable=False),
        sa.Column("load_id", sa.Text(), nullable=True),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("data", sa.JSON(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("sent_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("acknowledgement", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("ven_id", "command_id", name=op.f("pk_commands")),
    )
    op.create_index(
        "ix_commands_pending",
        "commands",
        ["created_at"],
        unique=False,
        postgresql_where=sa.text("status IN ('pending', 'sent')"),
    )
    op.create_table(
        "event_participations",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("event_id", sa.Text(collation="C"), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("requested_reduction_kw", sa.Double(), nullable=False),
        sa.Column("notified_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opted_out_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("ven_id", "event_id", name=op.f("pk_event_participations")),
    )
    op.create_index("ix_event_participations_event_id", "event_participations", ["event_id"], unique=False)
    op.create_table(
        "events",
        sa.Column("event_id", sa.Text(collation="C"), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("start_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requested_reduction_kw", sa.Double(), nullable=False),
        sa.Column("actual_reduction_kw", sa.Double(), nullable=True),
        sa.Column("priority", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_events")),
    )
    op.create_index("ix_events_start_time", "events", ["start_time"], unique=False)
    op.create_table(
        "ingest_batches",
        sa.Column("batch_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("messages", sa.Integer(), nullable=False),
        sa.Column("telemetry_rows", sa.Integer(), nullable=False),
        sa.Column("sample_rows", sa.Integer(), nullable=False),
        sa.Column("description_rows", sa.Integer(), nullable=False),
        sa.Column("status_rows", sa.Integer(), nullable=False),
        sa.Column("first_ts", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_ts", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_ingest_batches")),
    )
    op.create_table(
        "job_runs",
        sa.Column("run_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("job", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("duration_s", sa.Double(), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", name=op.f("pk_job_runs")),
    )
    op.create_index("ix_job_runs_started_at", "job_runs", ["started_at"], unique=False)
    op.create_table(
        "load_history",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("load_id", sa.Text(collation="C"), nullable=False),
        sa.Column("resolution_s", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bucket", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_power_kw_sum", sa.Double(), nullable=False),
        sa.Column("shed_power_kw_sum", sa.Double(), nullable=False),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("used_samples", sa.BigInteger(), nullable=False),
        sa.Column("shed_samples", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ven_id", "load_id", "resolution_s", "bucket", name=op.f("pk_load_history")),
    )
    op.create_table(
        "load_snapshots",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("load_id", sa.Text(collation="C"), nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), nullable=False),
        sa.Column("load_type", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("used_power_kw", sa.Double(), nullable=True),
        sa.Column("shed_power_kw", sa.Double(), nullable=True),
        sa.Column("capacity_kw", sa.Double(), nullable=True),
        sa.Column("shed_capability_kw", sa.Double(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=True),
        sa.Column("load_type_stamp", sa.BigInteger(), nullable=True),
        sa.Column("name_stamp", sa.BigInteger(), nullable=True),
        sa.Column("used_power_kw_stamp", sa.BigInteger(), nullable=True),
        sa.Column("shed_power_kw_stamp", sa.BigInteger(), nullable=True),
        sa.Column("capacity_kw_stamp", sa.BigInteger(), nullable=True),
        sa.Column("shed_capability_kw_stamp", sa.BigInteger(), nullable=True),
        sa.Column("enabled_stamp", sa.BigInteger(), nullable=True),
        sa.Column("priority_stamp", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("ven_id", "load_id", name=op.f("pk_load_snapshots")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "load_type_rollups",
        sa.Column("load_type", sa.Text(collation="C"), nullable=False),
        sa.Column("total_capacity_kw", sa.Double(), nullable=False),
        sa.Column("total_shed_capability_kw", sa.Double(), nullable=False),
        sa.Column("current_usage_kw", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("load_type", name=op.f("pk_load_type_rollups")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "loads",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("load_id", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("load_type", sa.Text(), nullable=True),
        sa.Column("capacity_kw", sa.Double(), nullable=True),
        sa.Column("shed_capability_kw", sa.Double(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=True),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("ven_id", "load_id", name=op.f("pk_loads")),
    )
    op.create_table(
        "network_energy",
        sa.Column("bucket", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_energy_kwh", sa.Double(), nullable=False),
        sa.Column("shed_energy_kwh", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("bucket", name=op.f("pk_network_energy")),
    )
    op.create_table(
        "network_history",
        sa.Column("resolution_s", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bucket", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_power_kw_sum", sa.Double(), nullable=False),
        sa.Column("shed_power_kw_sum", sa.Double(), nullable=False),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("used_samples", sa.BigInteger(), nullable=False),
        sa.Column("shed_samples", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("resolution_s", "bucket", name=op.f("pk_network_history")),
    )
    op.create_table(
        "network_snapshot",
        sa.Column("network", sa.SmallInteger(), nullable=False),
        sa.Column("ven_count", sa.BigInteger(), nullable=False),
        sa.Column("online_vens", sa.BigInteger(), nullable=False),
        sa.Column("reporting_vens", sa.BigInteger(), nullable=False),
        sa.Column("controllable_power_kw", sa.Double(), nullable=False),
        sa.Column("potential_load_reduction_kw", sa.Double(), nullable=False),
        sa.Column("household_usage_kw", sa.Double(), nullable=False),
        sa.Column("current_load_reduction_kw", sa.Double(), nullable=False),
        sa.Column("energy_day", sa.Date(), nullable=False),
        sa.Column("energy_today_kwh", sa.Double(), nullable=True),
        sa.Column("refreshed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("network", name=op.f("pk_network_snapshot")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "pending_batches",
        sa.Column("lane", sa.Text(), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("lane", "batch_id", name=op.f("pk_pending_batches")),
    )
    op.create_table(
        "rejected_messages",
        sa.Column("rejected_id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("ven_id", sa.Text(), nullable=True),
        sa.Column("ts", sa.DateTime(timezone=True), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("rejected_id", name=op.f("pk_rejected_messages")),
    )
    op.create_index("ix_rejected_messages_received_at", "rejected_messages", ["received_at"], unique=False)
    op.create_table(
        "stale_slots",
        sa.Column("bucket", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("bucket", name=op.f("pk_stale_slots")),
    )
    op.create_table(
        "ven_history",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("resolution_s", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("bucket", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_power_kw_sum", sa.Double(), nullable=False),
        sa.Column("shed_power_kw_sum", sa.Double(), nullable=False),
        sa.Column("samples", sa.BigInteger(), nullable=False),
        sa.Column("used_samples", sa.BigInteger(), nullable=False),
        sa.Column("shed_samples", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ven_id", "resolution_s", "bucket", name=op.f("pk_ven_history")),
    )
    op.create_index("ix_ven_history_bucket", "ven_history", ["bucket"], unique=False)
    op.create_table(
        "ven_load_descriptions",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("load_id", sa.Text(collation="C"), nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), nullable=False),
        sa.Column("load_type", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("used_power_kw", sa.Double(), nullable=True),
        sa.Column("shed_power_kw", sa.Double(), nullable=True),
        sa.Column("capacity_kw", sa.Double(), nullable=True),
        sa.Column("shed_capability_kw", sa.Double(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=True),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ven_id", "load_id", "ts", name=op.f("pk_ven_load_descriptions")),
        postgresql_partition_by="RANGE (ts)",
    )
    op.create_index(
        "ix_ven_load_descriptions_batch_id",
        "ven_load_descriptions",
        ["batch_id"],
        unique=False,
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    )
    op.create_table(
        "ven_load_samples",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("load_id", sa.Text(collation="C"), nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), nullable=False),
        sa.Column("load_type", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("used_power_kw", sa.Double(), nullable=True),
        sa.Column("shed_power_kw", sa.Double(), nullable=True),
        sa.Column("capacity_kw", sa.Double(), nullable=True),
        sa.Column("shed_capability_kw", sa.Double(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=True),
        sa.Column("priority", sa.Integer(), nullable=True),
        sa.Column("metadata", sa.JSON(), nullable=True),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ven_id", "load_id", "ts", name=op.f("pk_ven_load_samples")),
        postgresql_partition_by="RANGE (ts)",
    )
    op.create_index(
        "ix_ven_load_samples_batch_id",
        "ven_load_samples",
        ["batch_id"],
        unique=False,
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    )
    op.create_table(
        "ven_snapshots",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), nullable=True),
        sa.Column("used_power_kw", sa.Double(), nullable=True),
        sa.Column("used_power_ts", sa.DateTime(timezone=True), nullable=True),
        sa.Column("shed_power_kw", sa.Double(), nullable=True),
        sa.Column("requested_reduction_kw", sa.Double(), nullable=True),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("battery_soc", sa.Double(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("heard_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("status_ts", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("ven_id", name=op.f("pk_ven_snapshots")),
        postgresql_with={"fillfactor": 50},
    )
    op.create_table(
        "ven_statuses",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("details", sa.JSON(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ven_id", "ts", name=op.f("pk_ven_statuses")),
    )
    op.create_index(
        "ix_ven_statuses_batch_id",
        "ven_statuses",
        ["batch_id"],
        unique=False,
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    )
    op.create_table(
        "ven_telemetry",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("ts", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_power_kw", sa.Double(), nullable=True),
        sa.Column("shed_power_kw", sa.Double(), nullable=False),
        sa.Column("requested_reduction_kw", sa.Double(), nullable=True),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("baseline_power_kw", sa.Double(), nullable=True),
        sa.Column("battery_soc", sa.Double(), nullable=True),
        sa.Column("payload", sa.JSON(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("batch_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("ven_id", "ts", name=op.f("pk_ven_telemetry")),
        postgresql_partition_by="RANGE (ts)",
    )
    op.create_index(
        "ix_ven_telemetry_batch_id",
        "ven_telemetry",
        ["batch_id"],
        unique=False,
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    )
    op.create_index(
        "ix_ven_telemetry_ts",
        "ven_telemetry",
        ["ts"],
        unique=False,
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    )
    op.create_table(
        "vens",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("registration_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("latitude_deg", sa.Double(), nullable=True),
        sa.Column("longitude_deg", sa.Double(), nullable=True),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("ven_id", name=op.f("pk_vens")),
    )
    op.execute(ENSURE_RAW_PARTITIONS)
    for parent in ("ven_telemetry", "ven_load_samples", "ven_load_descriptions"):
        op.execute(_archive_partition(parent))


def downgrade() -> None:
    op.execute("DROP FUNCTION ensure_raw_partitions(date[])")
    op.drop_table("vens")
    op.drop_index(
        "ix_ven_telemetry_ts",
        table_name="ven_telemetry",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    )
    op.drop_index(
        "ix_ven_telemetry_batch_id",
        table_name="ven_telemetry",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    )
    op.drop_table("ven_telemetry")
    op.drop_index(
        "ix_ven_statuses_batch_id",
        table_name="ven_statuses",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    )
    op.drop_table("ven_statuses")
    op.drop_table("ven_snapshots")
    op.drop_index(
        "ix_ven_load_samples_batch_id",
        table_name="ven_load_samples",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    )
    op.drop_table("ven_load_samples")
    op.drop_index(
        "ix_ven_load_descriptions_batch_id",
        table_name="ven_load_descriptions",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    )
    op.drop_table("ven_load_descriptions")
    op.drop_index("ix_ven_history_bucket", table_name="ven_history")
    op.drop_table("ven_history")
    op.drop_table("stale_slots")
    op.drop_index("ix_rejected_messages_received_at", table_name="rejected_messages")
    op.drop_table("rejected_messages")
    op.drop_table("pending_batches")
    op.drop_table("network_snapshot")
    op.drop_table("network_history")
    op.drop_table("network_energy")
    op.drop_table("loads")
    op.drop_table("load_type_rollups")
    op.drop_table("load_snapshots")
    op.drop_table("load_history")
    op.drop_index("ix_job_runs_started_at", table_name="job_runs")
    op.drop_table("job_runs")
    op.drop_table("ingest_batches")
    op.drop_index("ix_events_start_time", table_name="events")
    op.drop_table("events")
    op.drop_index("ix_event_participations_event_id", table_name="event_participations")
    op.drop_table("event_participations")
    op.drop_index(
        "ix_commands_pending",
        table_name="commands",
        postgresql_where=sa.text("status IN ('pending', 'sent')"),
    )
    op.drop_table("commands")
