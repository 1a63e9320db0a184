"""The list of VENs reads each load once, also where one VEN has most of all loads.

One VEN of 20,000 loads had made the list take 218 s: by the statistics every VEN had that many, so all loads
were read for each VEN.
"""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine
from sqlalchemy.dialects import postgresql

from schemas.devices.load_values import GONE_AFTER
from serving.fleet import queries
from serving.fleet.reader import FleetReader
from serving.page import Page
from tests.integration.published import NOW

VENS, LARGE = 400, 20_000
TABLES = {"load_snapshots", "loads", "commands"}
FILL = f"""
ALTER TABLE load_snapshots SET (autovacuum_enabled = off);
ALTER TABLE loads SET (autovacuum_enabled = off);
INSERT INTO vens (ven_id, created_at) SELECT 'ven-' || v, now() FROM generate_series(1, {VENS}) v;
INSERT INTO ven_snapshots (ven_id, status) SELECT ven_id, 'online' FROM vens;
INSERT INTO commands (ven_id, command_id, op, data, status, attempts, created_at, next_attempt_at, expires_at,
    sent_at, acknowledged_at)
    SELECT 'ven-' || v, n::text, 'ping', '{{}}', 'acknowledged', 1, at, at, at, at, at + interval '1 s'
    FROM generate_series(1, {VENS}) v, LATERAL generate_series(1, CASE v WHEN 7 THEN {LARGE} ELSE 2 END) n,
        LATERAL (SELECT now() - n * interval '1 minute' AS at) t;
INSERT INTO load_snapshots (ven_id, load_id, ts, shed_capability_kw)
    SELECT 'ven-7', 'l' || l, now(), 0.001 FROM generate_series(1, {LARGE}) l;
INSERT INTO loads (ven_id, load_id, shed_capability_kw, enabled, updated_at)
    SELECT 'ven-7', 'l' || l, 0.002, l > 1, now() FROM generate_series(1, {LARGE // 2}) l
"""
OTHERS = """
INSERT INTO load_snapshots (ven_id, load_id, ts, shed_capability_kw)
    SELECT ven_id, 'l' || l, now(), 0.5 FROM vens, generate_series(1, 2) l WHERE ven_id <> 'ven-7';
INSERT INTO loads (ven_id, load_id, enabled, updated_at)
    SELECT ven_id, 'l1', false, now() FROM vens WHERE ven_id <> 'ven-7'
"""


@pytest.fixture(params=["stale", "fresh"])
def skewed(connection: psycopg.Connection, request: pytest.FixtureRequest) -> psycopg.Connection:
    """With statistics from when the large VEN was alone, and with those of now."""
    connection.execute(FILL.encode())
    if request.param == "stale":
        connection.execute("ANALYZE")
    connection.execute(OTHERS.encode())
    if request.param == "fresh":
        connection.execute("ANALYZE")
    return connection


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def rows_read(connection: psycopg.Connection, size: int | None, plans: str) -> dict[str, float]:
    """By table: rows that the scans of one page visited, over all their loops."""
    dialect = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]
    statement: Any = queries.ven_summaries(Page(size, None), GONE_AFTER).bound()
    literal = statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    connection.execute(f"SET plan_cache_mode = {plans}".encode())
    connection.execute(f"PREPARE page AS {literal}".encode())
    explain = b"EXPLAIN (ANALYZE, TIMING off, FORMAT json) EXECUTE page"
    [[[answer]]] = connection.execute(explain)
    connection.execute("DEALLOCATE page")
    read = dict.fromkeys(TABLES, 0.0)
    for node in nodes(answer["Plan"]):
        if node.get("Relation Name") in TABLES:
            visited = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            read[node["Relation Name"]] += visited * node["Actual Loops"]
    return read


@pytest.mark.thorough
@pytest.mark.parametrize("size", [100, 1_000])
@pytest.mark.parametrize("plans", ["force_custom_plan", "force_generic_plan"])
def test_a_page_reads_each_load_once(skewed: psycopg.Connection, size: int, plans: str) -> None:
    read = rows_read(skewed, size, plans)
    loads = LARGE + 2 * VENS
    assert 0 < read["load_snapshots"] <= 1.5 * loads, read
    assert 0 < read["loads"] <= 1.5 * loads, read
    assert 0 < read["commands"] <= 20 * VENS, read


@pytest.mark.usefixtures("skewed")
def test_the_sums_are_those_of_each_ven(engine: Engine) -> None:
    summaries = {
        each.id: each.controllable_power for each in FleetReader(engine, lambda: NOW).ven_summaries(Page())
    }
    assert len(summaries) == VENS
    assert summaries.pop("ven-7") == pytest.approx((LARGE // 2 - 1) * 0.002 + LARGE // 2 * 0.001)
    assert set(summaries.values()) == {0.5}
