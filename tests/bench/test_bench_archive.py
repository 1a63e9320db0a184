"""The archive beside PostgreSQL: bytes a message, and the time to write and to read a day.

Messages are those of the simulated fleet: eight loads a home or fewer, payloads as gateways write them.
"""

import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import duckdb
import polars as pl
import psycopg
import pytest

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from ingest.storing.queries import ENSURE_PARTITIONS
from ingest.storing.store import Store
from jobs.archive.writing import archive_next_day, manifest_of
from jobs.queries import archive as queries
from local.fleet.backfill import backfill
from local.fleet.reports import FleetSettings
from schemas.archive.folder import ArchiveFolder
from schemas.archive.manifest import Manifest
from schemas.db.connections import connect, engine_for
from tests.bench.conftest import MakeDatabase
from tests.integration.published import rows, value

pytestmark = pytest.mark.bench

VENS = int(os.environ.get("GRIDGATE_BENCH_ARCHIVE_VENS", "40"))
DAY = datetime(2024, 7, 4, tzinfo=UTC)
NOW = DAY + timedelta(days=6)
SIZES = "SELECT sum(pg_total_relation_size(id)) FROM raw_partitions('{}') WHERE since = '2024-07-04Z'"
TABLES = ("ven_telemetry", "ven_load_samples", "ven_load_descriptions")


def messages() -> Iterator[list[Received]]:
    end = (DAY + timedelta(days=1)).timestamp() - 1
    made = backfill(7, VENS, 24 - 1 / 3_600, FleetSettings(60.0), end)
    received = (Received(each.topic, each.payload, DAY + timedelta(days=1)) for each in made)
    while block := list(islice(received, 2_000)):
        yield block


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_a_day_in_the_archive(make_database: MakeDatabase, tmp_path: Path) -> None:
    database_url, folder = make_database(), ArchiveFolder(tmp_path.as_uri())
    engine = engine_for(database_url, "bench", statement_timeout="5min")
    with connect(database_url, "bench") as connection:
        connection.execute(ENSURE_PARTITIONS, [[DAY.date()]])
        store = Store(connection, "bench")
        for block in messages():
            store.write(Batch.of(block, timedelta(days=4_000)))
        connection.execute("VACUUM ANALYZE")
        sizes = {table: value(connection, SIZES.format(table)) for table in TABLES}
        reports = value(connection, "SELECT count(*) FROM ven_telemetry WHERE ts >= '2024-07-04Z'")
        copy_s = timed(lambda: _copy_out(connection))

        def archive() -> None:
            handled = 1
            while handled:
                with engine.begin() as transaction:
                    handled = archive_next_day(transaction, NOW, folder=folder, after=timedelta(days=1))

        archive_s = timed(archive)
        with engine.connect() as reading:
            manifests = [manifest_of(row) for row in queries.archived().each(reading)]
        hot_s = timed(lambda: rows(connection, "SELECT sum(used_power_kw) FROM ven_load_samples"))
    _tell(manifests, sizes, reports)
    samples = str(tmp_path / "ven_load_samples/*.parquet")
    sums = "SELECT sum(used_power_kw) FROM '{}'"
    one = pl.scan_parquet(samples).filter(pl.col("ven_id") == "ven-7").select("ts", "used_power_kw")
    print(f"  write and verify {archive_s:.2f} s; COPY of the same rows out of PostgreSQL {copy_s:.2f} s")
    duckdb_s = timed(duckdb.execute(sums.format(samples)).fetchall)
    polars_s = timed(pl.scan_parquet(samples).select("used_power_kw").sum().collect)
    print(f"  sum of all samples: PostgreSQL {hot_s:.3f} s, DuckDB {duckdb_s:.3f} s, Polars {polars_s:.3f} s")
    print(f"  one VEN's day of samples by Polars {timed(one.collect):.3f} s")
    engine.dispose()


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
    assert cold < hot / 4
