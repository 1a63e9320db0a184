"""The SQL of distributing tables over the workers of a Citus cluster."""

from typing import NamedTuple

from sqlalchemy import TextClause, text

from schemas.db.revisions import MIGRATION_LOCK
from schemas.tables.history import load_history, ven_history
from schemas.tables.raw import (
    ven_load_descriptions,
    ven_load_samples,
    ven_statuses,
    ven_telemetry,
)

COLUMN = "ven_id"

GROWING = (
    ven_telemetry,
    ven_load_samples,
    ven_load_descriptions,
    ven_statuses,
    ven_history,
    load_history,
)
"""Tables that grow with time. All others are bounded by the fleet and by what people do: they stay local."""

HOLD_ALL = text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")
"""Waits until no transaction of ingest or jobs runs; they wait until ours has ended."""

WITHOUT_LIMIT = text("SET LOCAL statement_timeout = 0")
ONE_CONNECTION_A_WORKER = text("SET LOCAL citus.multi_shard_modify_mode TO 'sequential'")
"""Citus demands it where tables and functions are changed in one transaction."""

HAS_EXTENSION = text("SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'citus')")
WORKERS = text(
    "SELECT count(*) FROM pg_catalog.pg_dist_node"
    " WHERE isactive AND shouldhaveshards AND noderole = 'primary'"
)


class Placement(NamedTuple):
    """How Citus keeps a table: by which method and column; null for a table that it does not know."""

    name: str
    method: str | None
    column: str | None


PLACEMENTS = text(
    "SELECT name, partmethod AS method, column_to_column_name(logicalrelid, partkey) AS column"
    " FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS wanted (name, place)"
    " LEFT JOIN pg_catalog.pg_dist_partition ON logicalrelid = CAST(name AS regclass) ORDER BY place"
)
MOVES = text("SELECT target FROM partition_moves ORDER BY parent")

STORED_BYTES = text(
    "CREATE OR REPLACE FUNCTION stored_bytes(id regclass) RETURNS bigint LANGUAGE sql STABLE AS $$"
    " SELECT CASE WHEN EXISTS (SELECT FROM pg_catalog.pg_dist_partition WHERE logicalrelid = id)"
    " THEN pg_catalog.citus_total_relation_size(id, false) ELSE pg_catalog.pg_total_relation_size(id) END $$"
)
"""The coordinator has an empty table for each distributed one."""


def has_rows(name: str) -> TextClause:
    return text(f"SELECT EXISTS (SELECT 1 FROM {name})")


def distribute(name: str, beside: str | None) -> TextClause:
    """Distribute a table; rows with the same VEN as those of another table go to the same worker."""
    colocation = "default" if beside is None else beside
    return text(f"SELECT create_distributed_table('{name}', '{COLUMN}', colocate_with => '{colocation}')")


def drop_local_rows(name: str) -> TextClause:
    """Of a table whose rows have been copied to the workers."""
    return text(f"SELECT truncate_local_data_after_distributing_table('{name}')")
