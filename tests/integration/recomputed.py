"""The summary, anew from raw rows: by SQL alone."""

import psycopg

from schemas.tables.history import NETWORK_RESOLUTIONS_S, SLOT_S
from tests.integration.published import assert_same_rows, rows

STATE = (
    "coalesce(sum(used_power_kw), 0), coalesce(sum(shed_power_kw), 0), count(*), count(used_power_kw),"
    " count(shed_power_kw)"
)


def buckets(raw: str, keys: str, resolution_s: int) -> str:
    bucket = f"date_bin('{resolution_s} s', ts, 'epoch')"
    return f"SELECT {keys} {resolution_s}, {bucket}, {STATE} FROM {raw} GROUP BY {keys} {bucket}"


REBUILT = {
    "network_history": " UNION ALL ".join(buckets("ven_telemetry", "", s) for s in NETWORK_RESOLUTIONS_S),
    "ven_history": buckets("ven_telemetry", "ven_id,", SLOT_S),
    "load_history": buckets("ven_load_samples", "ven_id, load_id,", SLOT_S),
}
ENERGY = """
WITH span AS (
    SELECT ven_id, since, width_s, coalesce(
        lead(since) OVER (PARTITION BY ven_id ORDER BY since), 'infinity'
    ) AS until FROM slot_widths
), sample AS (
    SELECT t.*, make_interval(secs => coalesce(
        (SELECT width_s FROM span w WHERE w.ven_id = t.ven_id AND ts >= since AND ts < until), 300
    )) AS width FROM ven_telemetry t
), wide AS (
    SELECT ven_id, width, date_bin(width, ts, 'epoch') AS first,
        avg(used_power_kw) AS used, avg(shed_power_kw) AS shed
    FROM sample GROUP BY 1, 2, 3
)
SELECT slot, sum(coalesce(used, 0) / 12), sum(coalesce(shed, 0) / 12)
FROM wide, generate_series(first, first + width - interval '5 minutes', interval '5 minutes') AS slot
GROUP BY slot
"""
LATEST = (
    "SELECT DISTINCT ON (ven_id) ven_id, ts, shed_power_kw, event_id FROM ven_telemetry"
    " ORDER BY ven_id, ts DESC"
)


def assert_equals_a_rebuild(connection: psycopg.Connection) -> None:
    for table, rebuilt in REBUILT.items():
        assert_same_rows(
            rows(connection, f"SELECT * FROM {table}"), rows(connection, f"SELECT * FROM ({rebuilt}) AS r")
        )
    found = "SELECT ven_id, ts, shed_power_kw, event_id FROM ven_snapshots WHERE ts IS NOT NULL"
    assert sorted(rows(connection, found), key=str) == sorted(rows(connection, LATEST), key=str)


def assert_energy_equals_a_rebuild(connection: psycopg.Connection) -> None:
    assert_same_rows(rows(connection, "SELECT * FROM network_energy"), rows(connection, ENERGY))
