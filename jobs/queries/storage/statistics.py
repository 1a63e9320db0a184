"""The SQL of statistics for the planner, and of BRIN summaries, of tables that grow fast."""

from sqlalchemy import text
from sqlalchemy.sql.elements import TextClause

LIMIT_LOCK_WAIT = text("SET LOCAL lock_timeout = '50ms'")

_OURS = (
    "WITH ours AS ("
    " SELECT CAST(to_regclass(name) AS oid) AS id FROM unnest(CAST(:tables AS text[])) AS given (name)"
    " UNION SELECT inhrelid FROM unnest(CAST(:partitioned AS text[])) AS given (name)"
    " JOIN pg_catalog.pg_partitioned_table ON partrelid = CAST(name AS regclass)"
    " JOIN pg_catalog.pg_inherits ON inhparent = partrelid"
    " AND inhrelid <> partdefid AND NOT inhdetachpending)"
)
"""Tables, and the partitions of partitioned ones: not the default one, on whose lock ingest would wait.

Not by `raw_partitions`, which waits for sessions that have locked a partition.
"""

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


SUMMARIZE = text(
    "WITH RECURSIVE target (id, width, last) AS ("
    " SELECT found.oid, coalesce((SELECT CAST(option_value AS integer)"
    " FROM pg_options_to_table(found.reloptions) WHERE option_name = 'pages_per_range'), 128),"
    " pg_relation_size(indrelid) / CAST(current_setting('block_size') AS integer) - 1"
    " FROM pg_catalog.pg_index JOIN pg_catalog.pg_class AS found ON found.oid = indexrelid"
    " WHERE indexrelid = CAST(:name AS regclass)),"
    " summarized (page, ranges) AS ("
    " SELECT last, brin_summarize_range(id, last) FROM target WHERE last >= 0 UNION ALL"
    " SELECT page - width, brin_summarize_range(id, page - width) FROM summarized, target"
    " WHERE ranges > 0 AND page >= width)"
    " SELECT CAST(coalesce(sum(ranges), 0) AS integer) FROM summarized"
)
"""Summarize the pages that were added to a table, the last ones first, up to those that are summarized;
returns the number of ranges.

`brin_summarize_new_values` looks at each range of the table, at each run: old days, of which the last vacuum
has left the last rows, would take longer than all new ones. Gaps before that, if PostgreSQL could not note
all ranges that it should summarize while the jobs were away, are left to the next vacuum.
"""
