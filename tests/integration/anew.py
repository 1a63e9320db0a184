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
ENERGY = (
    "SELECT bucket, sum(coalesce(used_power_kw_sum / nullif(used_samples, 0), 0) / 12),"
    " sum(coalesce(shed_power_kw_sum / nullif(shed_samples, 0), 0) / 12) FROM ven_history GROUP BY bucket"
)
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
