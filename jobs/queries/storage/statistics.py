"""The SQL of statistics for the planner, and of BRIN summaries, of tables that grow fast."""

from sqlalchemy import text
from sqlalchemy.sql.elements import TextClause

LIMIT_LOCK_WAIT = text("SET LOCAL lock_timeout = '50ms'")

_OURS = (
    "WITH ours AS ("
    " SELECT CAST(to_regclass(name) AS oid) AS id FROM unnest(CAST(:tables AS text[])) AS given (name)"
    " UNION SELECT id FROM unnest(CAST(:partitioned AS text[])) AS given (name),"
    " LATERAL raw_partitions(CAST(name AS regclass)) WHERE NOT is_default)"
)
"""Tables, and the partitions of partitioned ones: not the default one, on whose lock ingest would wait."""

GROWN_TABLES = text(
    f"{_OURS} SELECT CAST(CAST(id AS regclass) AS text) FROM ours"
    " JOIN pg_catalog.pg_class AS found ON found.oid = id AND found.relkind = 'r'"
    " AND pg_has_role(found.relowner, 'USAGE')"
    " WHERE pg_stat_get_live_tuples(id) >= 2 * greatest(found.reltuples, CAST(:fewest AS real)) ORDER BY 1"
)
"""Tables with twice the rows that they had at their last ANALYZE; without one, with twice `fewest`."""


UNSUMMARIZED = text(
    f"{_OURS} SELECT CAST(CAST(indexrelid AS regclass) AS text)"
    " FROM ours JOIN pg_catalog.pg_index ON indrelid = id"
    " JOIN pg_catalog.pg_class AS found ON found.oid = indexrelid AND found.relkind = 'i'"
    " AND pg_has_role(found.relowner, 'USAGE')"
    " JOIN pg_catalog.pg_am ON pg_am.oid = found.relam AND amname = 'brin'"
    " WHERE pg_stat_get_ins_since_vacuum(id) >= CAST(:fewest AS real) ORDER BY 1"
)
"""BRIN indexes of tables to which many rows were added since the last vacuum, which summarizes them, too."""


def analyze(name: str) -> TextClause:
    """Analyze a table, unless another session vacuums, analyzes or changes it now."""
    return text(f"ANALYZE (SKIP_LOCKED) {name}")


SUMMARIZE = text("SELECT brin_summarize_new_values(CAST(:name AS regclass))")
"""Summarize the pages that were added to a table; returns the number of ranges."""
