"""A cycle costs what is new: ten times the history, the same time.

`BENCH_HISTORY_TIMES=1,10,100 make bench` looks behind a hundred million raw rows (some 30 GB).
"""

import os
import time
from collections import defaultdict
from collections.abc import Mapping
from statistics import median

import polars as pl
import pytest
from sqlalchemy import Connection, Engine, Table, select, text

from ingest.batch import Batch
from ingest.store import Store
from jobs import queries
from jobs.lanes import consume_history_batches, consume_snapshot_batches, refresh_energy, refresh_totals
from jobs.models import LoadSampleFrame, ReportFrame, TransitionFrame, VenSampleFrame
from jobs.rows import fetch
from jobs.transforms.buckets import bucket_samples
from jobs.transforms.latest import latest_loads, latest_vens
from schemas.database import connect, driver_connection, engine_for
from schemas.tables import FRAMES, Frame
from schemas.tables.history import SLOT_S
from schemas.tables.ledger import ingest_batches
from schemas.tables.raw import EntryFrame, ven_load_samples, ven_telemetry
from tests.bench.conftest import MakeDatabase
from tests.bench.fleet import INTERVAL, MAX_AHEAD, NOON, NOW, ROWS_EACH, reports
from tests.integration.published import value

pytestmark = pytest.mark.bench

VENS = 250
ROUNDS = 9
NEW_ROWS = VENS * ROUNDS * ROWS_EACH
CYCLES = 7
BASE_ROWS = 1_000_000
TIMES = [int(times) for times in os.environ.get("BENCH_HISTORY_TIMES", "1,10").split(",")]

HISTORY = """
SELECT ensure_raw_partitions(array(SELECT generate_series(
    (timestamptz '2024-07-10 11:00Z' - {instants} * interval '60 s')::date, date '2024-07-10', '1 day'
)::date));
INSERT INTO vens (ven_id, created_at) SELECT 'ven-' || v, now() FROM generate_series(0, {vens} - 1) v;
INSERT INTO ingest_batches (worker, received_at, messages, telemetry_rows, sample_rows, description_rows,
    status_rows, first_ts, last_ts)
SELECT 'tests', ts, {vens}, {vens}, {vens} * 8, 0, 0, ts, ts
FROM generate_series(
    timestamptz '2024-07-10 11:00Z' - {instants} * interval '60 s', '2024-07-10 10:59Z', '60 s'
) ts;
INSERT INTO ven_telemetry (ven_id, ts, used_power_kw, shed_power_kw, payload, received_at, batch_id)
SELECT 'ven-' || v, first_ts, v / 8.0, 0, '{{}}', received_at, batch_id
FROM ingest_batches, generate_series(0, {vens} - 1) v ORDER BY batch_id, v;
INSERT INTO ven_load_samples (ven_id, load_id, ts, used_power_kw, batch_id)
SELECT ven_id, load_id, ts, used_power_kw, batch_id FROM ven_telemetry,
    unnest(array['hvac1', 'ev1', 'pv1', 'battery1', 'pool1', 'heater1', 'dryer1', 'oven1']) load_id
ORDER BY batch_id, ven_id;
INSERT INTO ven_history SELECT ven_id, 300, date_bin('300 s', ts, 'epoch'), sum(used_power_kw), 0, count(*),
    count(*), count(*) FROM ven_telemetry GROUP BY 1, 3;
INSERT INTO load_history SELECT ven_id, load_id, 300, date_bin('300 s', ts, 'epoch'), sum(used_power_kw), 0,
    count(*), count(*), 0 FROM ven_load_samples GROUP BY 1, 2, 4;
INSERT INTO network_history SELECT s, date_bin(s * interval '1 s', ts, 'epoch'), sum(used_power_kw), 0,
    count(*), count(*), count(*) FROM ven_telemetry, unnest(array[1, 300, 3600]) s GROUP BY 1, 2;
"""


def with_history(database_url: str, raw_rows: int) -> Engine:
    """A database with so many raw rows, and their summary, a minute apart; nothing pending."""
    fill = HISTORY.format(vens=VENS, instants=raw_rows // (VENS * ROWS_EACH))
    with connect(database_url, "bench") as connection:
        connection.execute(fill.encode())
        connection.execute("VACUUM ANALYZE")
        stored = "SELECT (SELECT count(*) FROM ven_telemetry) + (SELECT count(*) FROM ven_load_samples)"
        assert value(connection, stored) == pytest.approx(raw_rows, rel=0.02)
    return engine_for(database_url, "bench")


def ingest(database_url: str, cycle: int) -> None:
    first = NOON + cycle * ROUNDS * INTERVAL
    with connect(database_url, "bench") as connection:
        Store(connection, "bench").write(Batch.of(reports(VENS, ROUNDS, first), MAX_AHEAD))


def cycle(engine: Engine) -> dict[str, float]:
    """The seconds of each step of both lanes, each in its transaction, as the runner has them."""
    took = {}
    for step in (consume_snapshot_batches, refresh_totals, consume_history_batches, refresh_energy):
        start = time.perf_counter()
        with engine.begin() as connection:
            handled = step(connection, NOW)
            assert handled == NEW_ROWS or step in {refresh_totals, refresh_energy}
        took[step.__name__] = time.perf_counter() - start
    return took


def bare(engine: Engine) -> dict[str, float]:
    """What no lane can do without: the newest batch's rows into frames, the result's rows out again."""
    with engine.connect() as connection:
        newest = connection.execute(
            select(ingest_batches).order_by(ingest_batches.c.batch_id.desc()).limit(1)
        ).one()

        def read(table: Table, model: type[Frame]) -> pl.DataFrame:
            days = newest.first_ts, newest.last_ts
            return fetch(connection, queries.rows_of_batches(table, model, [newest.batch_id], days), model)

        took = {}
        start = time.perf_counter()
        reports, entries = read(ven_telemetry, ReportFrame), read(ven_load_samples, EntryFrame)
        took["snapshot"] = time.perf_counter() - start
        start = time.perf_counter()
        panels, loads = read(ven_telemetry, VenSampleFrame), read(ven_load_samples, LoadSampleFrame)
        took["history"] = time.perf_counter() - start
        statuses = pl.DataFrame(schema=TransitionFrame.types())
        by_lane = {
            "snapshot": {
                "ven_snapshots": latest_vens(reports, statuses),
                "load_snapshots": latest_loads(entries, entries.clear()),
                "network_history": bucket_samples(reports, [], 1),
            },
            "history": {
                "ven_history": bucket_samples(panels, ["ven_id"], SLOT_S),
                "load_history": bucket_samples(loads, ["ven_id", "load_id"], SLOT_S),
            },
        }
        for lane, results in by_lane.items():
            start = time.perf_counter()
            for table, frame in results.items():
                copy_out(connection, table, frame)
            took[lane] += time.perf_counter() - start
    return took


def copy_out(connection: Connection, table: str, frame: pl.DataFrame) -> None:
    cursor = driver_connection(connection).cursor()
    cursor.execute(f"CREATE TEMPORARY TABLE bare_{table} (LIKE {table}) ON COMMIT DROP".encode())
    ordered = frame.select(list(FRAMES[table].types()))
    columns = ", ".join(ordered.columns)
    with cursor.copy(f"COPY bare_{table} ({columns}) FROM STDIN (FORMAT csv)".encode()) as copy:
        copy.write(ordered.write_csv(include_header=False, datetime_format="%Y-%m-%d %H:%M:%S%.6f+00"))


Measured = Mapping[str, float]


def measure(make_database: MakeDatabase, raw_rows: int) -> tuple[Measured, Measured]:
    """The median seconds of each step, and of what each lane could not do without."""
    database_url = make_database()
    engine = with_history(database_url, raw_rows)
    steps, limits = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    for number in range(CYCLES + 1):
        ingest(database_url, number)
        for times, took in ((steps, cycle(engine)), (limits, bare(engine))):
            for name, seconds in took.items():
                times[name].append(seconds)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM pending_batches")).scalar_one() == 0
        assert connection.execute(text("SELECT count(*) FROM load_snapshots")).scalar_one() == VENS * 8
    engine.dispose()
    return _medians(steps), _medians(limits)


def _medians(times: Mapping[str, list[float]]) -> Measured:
    """Without the first cycle, which opens connections and makes temporary tables."""
    return {name: median(seconds[1:]) for name, seconds in times.items()}


def test_a_cycle_with_more_and_more_history(make_database: MakeDatabase) -> None:
    first_s = None
    for times in TIMES:
        steps, limits = measure(make_database, times * BASE_ROWS)
        cycle_s = sum(steps.values())
        first_s = first_s or cycle_s
        snapshot_s = steps["consume_snapshot_batches"] + steps["refresh_totals"]
        history_s = steps["consume_history_batches"] + steps["refresh_energy"]
        told = ", ".join(f"{name} {step_s * 1000:.0f} ms" for name, step_s in steps.items())
        print(
            f"\njobs: {NEW_ROWS:,} new rows behind {times * BASE_ROWS:,} raw rows: both lanes"
            f" {cycle_s * 1000:.0f} ms, ratio to the first {cycle_s / first_s:.2f} ({told});"
            f" against fetch and COPY: snapshot lane {snapshot_s / limits['snapshot']:.2f} (limit 3),"
            f" history lane {history_s / limits['history']:.2f}"
        )
