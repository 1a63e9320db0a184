"""Raw tables get a DEFAULT partition, and what is needed to merge days into months and years.

The job `partitions` then fills the gaps between the partitions and merges the old ones, in the background.

Revision: 0010, after 0009
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

RAW_TABLES = ("ven_telemetry", "ven_load_samples", "ven_load_descriptions")

RAW_PARTITIONS = """
CREATE FUNCTION raw_partitions(
    parent regclass, OUT id oid, OUT home name, OUT name name, OUT is_default boolean,
    OUT since timestamptz, OUT until timestamptz
) RETURNS SETOF record LANGUAGE sql STABLE AS $$
    SELECT child.oid, space.nspname, child.relname, bound.words = 'DEFAULT',
        coalesce(substring(bound.words FROM 'FROM \\(''([^'']+)''\\)')::timestamptz, '-infinity'),
        coalesce(substring(bound.words FROM 'TO \\(''([^'']+)''\\)')::timestamptz, 'infinity')
    FROM pg_catalog.pg_inherits AS branch
    JOIN pg_catalog.pg_class AS child ON child.oid = branch.inhrelid
    JOIN pg_catalog.pg_namespace AS space ON space.oid = child.relnamespace
    CROSS JOIN LATERAL (SELECT pg_catalog.pg_get_expr(child.relpartbound, child.oid)) AS bound (words)
    WHERE branch.inhparent = parent AND NOT branch.inhdetachpending
$$
"""
"""The partitions of one table, wherever they are and whatever their names; of the default one `since` and
`until` mean nothing.
"""

ENSURE_RAW_PARTITIONS = """
CREATE OR REPLACE FUNCTION ensure_raw_partitions(days date[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    parent regclass;
    parent_name name;
    home name;
    day date;
    first timestamptz;
    next timestamptz;
    partition text;
BEGIN
    -- One maker at a time; each statement below sees what the one before us made.
    PERFORM pg_advisory_xact_lock(hashtext('ensure_raw_partitions'));
    FOREACH parent IN ARRAY ARRAY['ven_telemetry', 'ven_load_samples', 'ven_load_descriptions']::regclass[]
    LOOP
        SELECT nspname, relname INTO home, parent_name FROM pg_catalog.pg_class
        JOIN pg_catalog.pg_namespace AS space ON space.oid = relnamespace
        WHERE pg_class.oid = parent;
        IF NOT EXISTS (SELECT FROM raw_partitions(parent) WHERE is_default) THEN
            partition := format('%I.%I', home, parent_name || '_default');
            EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL)', partition, parent);
            EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s DEFAULT', parent, partition);
        END IF;
        FOREACH day IN ARRAY days LOOP
            first := day::timestamp AT TIME ZONE 'UTC';
            next := (day + 1)::timestamp AT TIME ZONE 'UTC';
            CONTINUE WHEN EXISTS (
                SELECT FROM raw_partitions(parent) WHERE NOT is_default AND since < next AND until > first
            );
            partition := format('%I.%I', home, parent_name || '_p' || to_char(day, 'YYYYMMDD'));
            BEGIN
                -- Attaching, unlike CREATE ... PARTITION OF, lets readers and writers of the parent go on.
                EXECUTE format('CREATE TABLE %s (LIKE %s INCLUDING ALL)', partition, parent);
                EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (%L)',
                    parent, partition, first, next);
            EXCEPTION WHEN check_violation THEN
                NULL;  -- the default partition holds rows of that day, and the job will move them
            END;
        END LOOP;
    END LOOP;
END $$
"""

PENDING_DAYS = """
UPDATE ingest_batches SET days = ARRAY(
    SELECT day::date FROM generate_series(
        (first_ts AT TIME ZONE 'UTC')::date::timestamp, last_ts AT TIME ZONE 'UTC', '1 day'
    ) AS day
)
WHERE first_ts IS NOT NULL AND batch_id IN (SELECT batch_id FROM pending_batches)
"""
"""All days between the first and the last of a pending batch, which may have fewer; consumed batches need none."""

FORMER_ENSURE = """
CREATE OR REPLACE FUNCTION ensure_raw_partitions(days date[]) RETURNS void LANGUAGE plpgsql AS $$
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

SPLIT_INTO_DAYS = """
DO $$
DECLARE
    parent regclass;
    part record;
    found date[];
    days date[] := '{}';
    parents regclass[] := '{}';
    parts text[] := '{}';
BEGIN
    FOREACH parent IN ARRAY ARRAY['ven_telemetry', 'ven_load_samples', 'ven_load_descriptions']::regclass[]
    LOOP
        FOR part IN
            SELECT format('%I.%I', home, name) AS partition FROM raw_partitions(parent)
            WHERE is_default OR since > '-infinity' AND until - since > interval '1 day'
        LOOP
            EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', parent, part.partition);
            EXECUTE format(
                'SELECT coalesce(array_agg(DISTINCT (ts AT TIME ZONE ''UTC'')::date), ''{}'') FROM %s',
                part.partition) INTO found;
            days := days || found;
            parents := parents || parent;
            parts := parts || part.partition;
        END LOOP;
    END LOOP;
    PERFORM ensure_raw_partitions(days);
    FOR number IN 1 .. cardinality(parts) LOOP
        EXECUTE format('INSERT INTO %s SELECT * FROM %s', parents[number], parts[number]);
        EXECUTE format('DROP TABLE %s', parts[number]);
    END LOOP;
END $$
"""
"""Each day that has rows gets a partition again, as before; days without rows do not."""


def upgrade() -> None:
    op.execute(RAW_PARTITIONS)
    op.execute(ENSURE_RAW_PARTITIONS)
    op.execute("SELECT ensure_raw_partitions('{}')")
    op.add_column("ingest_batches", sa.Column("days", sa.ARRAY(sa.Date()), nullable=True))
    op.add_column("ingest_batches", sa.Column("xact_id", sa.BigInteger(), nullable=True))
    op.execute(PENDING_DAYS)
    op.alter_column(
        "ingest_batches", "xact_id", server_default=sa.text("(pg_current_xact_id()::text::bigint)")
    )
    op.create_index("ix_ingest_batches_xact_id", "ingest_batches", ["xact_id"])
    op.create_table(
        "partition_moves",
        sa.Column("parent", sa.Text(collation="C"), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("copied_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("caught_up_xact_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("parent", name=op.f("pk_partition_moves")),
    )


def downgrade() -> None:
    targets = op.get_bind().exec_driver_sql("SELECT target FROM partition_moves").scalars().all()
    for target in targets:
        op.execute(f"DROP TABLE {target}")
    op.drop_table("partition_moves")
    op.execute(FORMER_ENSURE)
    op.execute(SPLIT_INTO_DAYS)
    op.execute("DROP FUNCTION raw_partitions(regclass)")
    op.drop_index("ix_ingest_batches_xact_id", "ingest_batches")
    op.drop_column("ingest_batches", "xact_id")
    op.drop_column("ingest_batches", "days")
