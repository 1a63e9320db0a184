"""The archive beside PostgreSQL: bytes a message, and the time to write and to read a day.

Messages are those of the simulated fleet, whose homes have few loads and steady values; or reports of 1.2 kB
with eight loads, in which each value has noise in its last digits. Payloads are included.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from random import Random

import duckdb
import polars as pl
import psycopg
import pytest
from falcon import testing
from sqlalchemy import Engine
from structlog.testing import capture_logs

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from ingest.storing.queries import ENSURE_PARTITIONS
from ingest.storing.store import Store
from jobs.archive.writing import archive_next_day
from jobs.queries.storage import archive as queries
from jobs.queries.storage.archive import manifest_of
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from jobs.storage.retention import drop_raw_days
from local.fleet.backfill import backfill
from local.fleet.telemetry.reports import FleetSettings
from schemas.archive.folder import ArchiveFolder
from schemas.archive.manifest import Manifest
from schemas.db.connections import connect, engine_for
from serving.app import create_app
from serving.routes import AppOptions
from tests.bench.conftest import MakeDatabase
from tests.bench.fleet import LOADS
from tests.integration.published import rows, value

pytestmark = pytest.mark.bench

VENS = int(os.environ.get("GRIDGATE_BENCH_ARCHIVE_VENS", "40"))
DAY = datetime(2024, 7, 4, tzinfo=UTC)
NOW = DAY + timedelta(days=6)
SIZES = "SELECT sum(pg_total_relation_size(id)) FROM raw_partitions('{}') WHERE since = '2024-07-04Z'"
TABLES = ("ven_telemetry", "ven_load_samples", "ven_load_descriptions")


def simulated() -> Iterator[Received]:
    end = (DAY + timedelta(days=1)).timestamp() - 1
    made = backfill(7, VENS, 24 - 1 / 3_600, FleetSettings(60.0), end)
    return (Received(each.topic, each.payload, DAY + timedelta(days=1)) for each in made)


def noisy() -> Iterator[Received]:
    """A report each half minute of a quarter as many VENs."""
    dice = Random(7)
    for number in range(2_880):
        for ven in range(VENS // 4):
            payload = _noisy_report(f"ven-{ven:04}", DAY.timestamp() + 30 * number + dice.random(), dice)
            yield Received(f"oadr/meter/ven-{ven:04}", payload, DAY + timedelta(days=1))


def _noisy_report(ven_id: str, ts: float, dice: Random) -> bytes:
    loads = [
        {
            "id": load_id,
            "type": load_id[:-1],
            "capacityKw": 3.5,
            "currentPowerKw": round(dice.gauss(2.0, 0.1), 3),
            "shedCapabilityKw": round(dice.gauss(1.0, 0.1), 3),
            "priority": 2,
        }
        for load_id in LOADS
    ]
    report = {"schemaVersion": "1.0", "venId": ven_id, "timestamp": ts, "loads": loads}
    report["usedPowerKw"] = round(dice.gauss(16.0, 0.3), 3)
    report["shedPowerKw"] = round(dice.gauss(1.0, 0.1), 3)
    report["voltage_v"] = round(dice.gauss(230.0, 1.0), 1)
    return json.dumps(report).encode()


def blocks(received: Iterator[Received]) -> Iterator[list[Received]]:
    while block := list(islice(received, 2_000)):
        yield block


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


@pytest.fixture(params=[simulated, noisy])
def stored(make_database: MakeDatabase, request: pytest.FixtureRequest) -> str:
    """A database with a day of the fleet, in the summary as well."""
    database_url = make_database()
    engine = engine_for(database_url, "bench", statement_timeout="5min")
    with connect(database_url, "bench") as connection:
        connection.execute(ENSURE_PARTITIONS, [[DAY.date()]])
        store = Store(connection, "bench")
        for block in blocks(request.param()):
            store.write(Batch.of(block, timedelta(days=4_000)))
        Runner(engine, lambda: NOW).catch_up([job for job in schedule(Cadence()) if job.has_backlog])
        connection.execute("VACUUM ANALYZE")
    engine.dispose()
    return database_url


def test_a_day_in_the_archive(stored: str, tmp_path: Path) -> None:
    folder, engine = ArchiveFolder(tmp_path.as_uri()), engine_for(stored, "bench", statement_timeout="5min")
    client = testing.TestClient(create_app(engine, lambda: NOW, [], AppOptions(archive=folder)))
    with connect(stored, "bench") as connection:
        sizes = {table: value(connection, SIZES.format(table)) for table in TABLES}
        reports = value(connection, "SELECT count(*) FROM ven_telemetry WHERE ts >= '2024-07-04Z'")
        copy_s = timed(lambda: _copy_out(connection))
        archive_s = timed(lambda: _archive(engine, folder))
        hot_s = timed(lambda: rows(connection, "SELECT sum(used_power_kw) FROM ven_load_samples"))
    with engine.connect() as reading:
        manifests = [manifest_of(row) for row in queries.archived().each(reading)]
    counted = sum(each.rows for each in manifests)
    _tell(manifests, sizes, reports)
    print(f"  rows/s: written and verified {counted / archive_s:,.0f}, by COPY {counted / copy_s:,.0f}")
    samples = str(tmp_path / "ven_load_samples/*.parquet")
    sums = "SELECT sum(used_power_kw) FROM '{}'"
    duckdb_s = timed(lambda: duckdb.execute(sums.format(samples)).fetchall())
    polars_s = timed(pl.scan_parquet(samples).select("used_power_kw").sum().collect)
    print(f"  sum of all samples: PostgreSQL {hot_s:.3f} s, DuckDB {duckdb_s:.3f} s, Polars {polars_s:.3f} s")
    with capture_logs():
        lines = list(_compared_histories(engine, client))
    print("\n".join(lines))
    engine.dispose()


def _archive(engine: Engine, folder: ArchiveFolder) -> None:
    handled = 1
    while handled:
        with engine.begin() as transaction:
            handled = archive_next_day(transaction, NOW, folder=folder, after=timedelta(days=1))


def _compared_histories(engine: Engine, client: testing.TestClient) -> Iterator[str]:
    """A VEN's day, of raw rows and of buckets with raw edges, before and after the day is dropped."""
    start, end = (DAY + timedelta(seconds=after_s) for after_s in (61, 73_081))
    edges = {"start": start.isoformat(), "end": end.isoformat()}
    with engine.connect() as connection:
        ven_id = connection.exec_driver_sql("SELECT min(ven_id) FROM ven_telemetry").scalar_one()
    asked = {
        f"{every} of {path}": (path, {**edges, "granularity": every})
        for every in ("7s", "15m")
        for path in (f"/api/vens/{ven_id}/history", "/api/stats/network/history")
    }
    hot = {name: _median_s(client, *each) for name, each in asked.items()}
    with engine.begin() as connection:
        assert drop_raw_days(connection, NOW, {0: timedelta(days=2)}, is_archived=True) > 0
    for name, each in asked.items():
        yield f"  history by {name}: hot {hot[name]:.4f} s, archived {_median_s(client, *each):.4f} s"


def _median_s(client: testing.TestClient, path: str, asked: dict[str, str]) -> float:
    def ask() -> None:
        assert client.simulate_get(path, params=asked).status_code == 200

    return statistics.median(timed(ask) for _ in range(7))


YEAR = """
import re, sys, time
from pathlib import Path
import polars as pl
start = time.perf_counter()
rows = pl.scan_parquet(sys.argv[1:], glob=False)
sums = rows.group_by("ven_id").agg(pl.len(), pl.col("used_power_kw").mean()).collect(engine="streaming")
used_kb = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
print(sums["len"].sum(), time.perf_counter() - start, int(used_kb) / 1024)
"""
"""Linux's peak of the process: `getrusage` has the peak of its parent in it."""


def test_a_year_of_the_archive_in_bounded_memory(stored: str, tmp_path: Path) -> None:
    """The day as often as a year has days: ten times as many take hardly more memory."""
    engine = engine_for(stored, "bench", statement_timeout="5min")
    _archive(engine, ArchiveFolder(tmp_path.as_uri()))
    engine.dispose()
    [day] = tmp_path.glob("ven_load_samples/2024-07-04.*.parquet")
    paths = [tmp_path / f"{number}.parquet" for number in range(365)]
    for path in paths:
        os.link(day, path)
    (_, _, part_mb), (counted, took_s, all_mb) = (_scanned(paths[:36]), _scanned(paths))
    print(f"\n{counted:,.0f} samples of a year: {took_s:.1f} s, {all_mb:.0f} MB; of a tenth {part_mb:.0f} MB")
    assert all_mb < 1.5 * part_mb + 100


def _scanned(paths: list[Path]) -> tuple[float, float, float]:
    """Rows, seconds, and the most memory of a process that averages the samples of each VEN, MB."""
    ran = subprocess.run(
        [sys.executable, "-c", YEAR, *map(str, paths)], check=True, capture_output=True, text=True
    )
    counted, took_s, used_mb = map(float, ran.stdout.split())
    return counted, took_s, used_mb


def _copy_out(connection: psycopg.Connection) -> None:
    for table in TABLES:
        with connection.cursor().copy(f"COPY (SELECT * FROM {table}) TO STDOUT".encode()) as copy:
            for _ in copy:
                pass


def _tell(manifests: list[Manifest], sizes: dict[str, int], reports: int) -> None:
    archived = {
        table: sum(each.bytes for manifest in manifests for each in manifest.of_table(table))
        for table in TABLES
    }
    counted = sum(each.rows for each in manifests)
    print(f"\n{reports} reports, {counted} rows")
    for table in TABLES:
        each_hot, each_cold = sizes[table] / reports, archived[table] / reports
        print(f"  {table}: hot {each_hot:.0f}, archived {each_cold:.1f} bytes a report")
    hot, cold = sum(sizes.values()), sum(archived.values())
    print(
        f"  together: hot {hot / reports:.0f}, archived {cold / reports:.1f} bytes a report: {cold / hot:.3f}"
    )
    assert cold < hot / 10
