"""The cost of a cycle depends on new rows: with ten times the history it stays the same.

`BENCH_HISTORY_TIMES=1,10,100 make bench` measures with a hundred million raw rows (some 30 GB).
"""

import os
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import date, timedelta
from functools import partial

import polars as pl
import psycopg
import pytest
from sqlalchemy import Connection, Engine, Table, select, text

from ingest.storing.batch import Batch
from ingest.storing.store import Store
from jobs.queries.summaries import pending as pending_queries
from jobs.running.schedule import Step
from jobs.summaries.lanes import (
    consume_history_batches,
    consume_snapshot_batches,
    refresh_energy,
    refresh_totals,
)
from jobs.summaries.models import LoadSampleFrame, ReportFrame, TransitionFrame, VenSampleFrame
from jobs.summaries.rows import fetch
from jobs.transforms.summaries.buckets import bucket_samples
from jobs.transforms.summaries.latest import latest_loads, latest_vens
from schemas.db.connections import connect, database_url_of, driver_connection, engine_for
from schemas.tables import FRAMES, Frame
from schemas.tables.history import SLOT_S
from schemas.tables.ledger import ingest_batches
from schemas.tables.raw import EntryFrame, ven_load_samples, ven_telemetry
from tests.bench.conftest import MakeDatabase
from tests.bench.cost import Cost, cost_of, typical
from tests.bench.fleet import INTERVAL, MAX_AHEAD, NOON, NOW, ROWS_EACH, reports
from tests.integration.published import value

pytestmark = pytest.mark.bench

VENS = 250
ROUNDS = 9
NEW_ROWS = VENS * ROUNDS * ROWS_EACH
CYCLES = 9
BASE_ROWS = 1_000_000
TIMES = [int(times) for times in os.environ.get("BENCH_HISTORY_TIMES", "1,10").split(",")]
STEPS = (consume_snapshot_batches, refresh_totals, consume_history_batches, refresh_energy)
LANES = {
    "snapshot": ("consume_snapshot_batches", "refresh_totals"),
    "history": ("consume_history_batches", "refresh_energy"),
}

BATCHES = """
INSERT INTO vens (ven_id, created_at) SELECT 'ven-' || v, now() FROM generate_series(0, {vens} - 1) v;
INSERT INTO ingest_batches (worker, received_at, messages, telemetry_rows, sample_rows, description_rows,
    status_rows, first_ts, last_ts)
SELECT 'tests', ts, {vens}, {vens}, {vens} * 8, 0, 0, ts, ts
FROM generate_series(
    timestamptz '2024-07-10 11:00Z' - {instants} * interval '60 s', '2024-07-10 10:59Z', '60 s'
) ts;
"""
DAY = """
SELECT ensure_raw_partitions(array['{day}'::date]);
INSERT INTO ven_telemetry (ven_id, ts, used_power_kw, shed_power_kw, payload, received_at, batch_id)
SELECT 'ven-' || v, first_ts, v / 8.0, 0, '{{}}', received_at, batch_id
FROM ingest_batches, generate_series(0, {vens} - 1) v WHERE {within} ORDER BY batch_id, v;
INSERT INTO ven_load_samples (ven_id, load_id, ts, used_power_kw, batch_id)
SELECT ven_id, load_id, ts, used_power_kw, batch_id FROM ven_telemetry_p{day:%Y%m%d},
    unnest(array['hvac1', 'ev1', 'pv1', 'battery1', 'pool1', 'heater1', 'dryer1', 'oven1']) load_id
ORDER BY batch_id, ven_id;
INSERT INTO ven_history SELECT ven_id, 300, date_bin('300 s', ts, 'epoch'), sum(used_power_kw), 0, count(*),
    count(*), count(*) FROM ven_telemetry_p{day:%Y%m%d} GROUP BY 1, 3 ORDER BY 3, 1;
INSERT INTO load_history SELECT ven_id, load_id, 300, date_bin('300 s', ts, 'epoch'), sum(used_power_kw), 0,
    count(*), count(*), 0 FROM ven_load_samples_p{day:%Y%m%d} GROUP BY 1, 2, 4 ORDER BY 4, 1, 2;
INSERT INTO network_history SELECT s, date_bin(s * interval '1 s', ts, 'epoch'), sum(used_power_kw), 0,
    count(*), count(*), count(*) FROM ven_telemetry_p{day:%Y%m%d}, unnest(array[1, 60, 300, 3600]) s
GROUP BY 1, 2;
"""


def with_history(database_url: str, raw_rows: int, vens: int = VENS) -> Engine:
    """A database with `raw_rows` raw rows, a minute apart, and their summary; nothing pending."""
    with connect(database_url, "bench") as connection:
        instants = raw_rows // (vens * ROWS_EACH)
        connection.execute(BATCHES.format(vens=vens, instants=instants).encode())
        first = (NOON - timedelta(hours=1, minutes=instants)).date()
        for number in range((NOON.date() - first).days + 1):
            _fill(connection, first + timedelta(days=number), vens)
        connection.execute("VACUUM ANALYZE ven_history, load_history, network_history, ingest_batches, vens")
        stored = "SELECT sum(telemetry_rows + sample_rows) FROM ingest_batches"
        assert value(connection, stored) == pytest.approx(raw_rows, rel=0.02)
    return engine_for(database_url, "bench")


def _fill(connection: psycopg.Connection, day: date, vens: int) -> None:
    within = f"first_ts >= '{day} 00:00Z' AND first_ts < '{day + timedelta(days=1)} 00:00Z'"
    connection.execute(DAY.format(day=day, vens=vens, within=within).encode())
    partitions = f"ven_telemetry_p{day:%Y%m%d}, ven_load_samples_p{day:%Y%m%d}"
    connection.execute(f"VACUUM ANALYZE {partitions}".encode())


def ingest(engine: Engine, round_number: int) -> None:
    """The same new rows for each database."""
    first = NOON + round_number * ROUNDS * INTERVAL
    url = database_url_of(engine)
    with connect(url, "bench") as connection:
        Store(connection, "bench").write(Batch.of(reports(VENS, ROUNDS, first), MAX_AHEAD))


def cycle(engine: Engine) -> dict[str, Cost]:
    """The cost of each step of both lanes, each in its transaction, as in the runner."""
    return {step.__name__: cost_of(engine, partial(run_step, step)) for step in STEPS}


def run_step(step: Step, connection: Connection) -> None:
    handled = step(connection, NOW)
    assert handled == NEW_ROWS or step in {refresh_totals, refresh_energy}


def fetch_and_copy(engine: Engine) -> dict[str, Cost]:
    """The minimum of a lane: fetch the newest batch's rows into frames, and COPY the result's rows out."""
    return {
        "snapshot": _fetch_and_copy(
            engine, [(ven_telemetry, ReportFrame), (ven_load_samples, EntryFrame)], _latest
        ),
        "history": _fetch_and_copy(
            engine, [(ven_telemetry, VenSampleFrame), (ven_load_samples, LoadSampleFrame)], _buckets
        ),
    }


Source = tuple[Table, type[Frame]]
Results = dict[str, pl.DataFrame]


def _fetch_and_copy(
    engine: Engine, sources: list[Source], compute: Callable[[pl.DataFrame, pl.DataFrame], Results]
) -> Cost:
    with engine.connect() as connection:
        newest = select(ingest_batches).order_by(ingest_batches.c.batch_id.desc()).limit(1)
        batch = connection.execute(newest).one()
    frames: list[pl.DataFrame] = []

    def read(connection: Connection) -> None:
        days = batch.first_ts, batch.last_ts
        for table, model in sources:
            query = pending_queries.rows_of_batches(table, model, [batch.batch_id], days)
            frames.append(fetch(connection, query, model))

    reading = cost_of(engine, read)
    results = compute(*frames)
    return reading + cost_of(engine, lambda connection: copy_out(connection, results))


def _latest(panels: pl.DataFrame, loads: pl.DataFrame) -> Results:
    statuses = pl.DataFrame(schema=TransitionFrame.types())
    return {
        "ven_snapshots": latest_vens(panels, statuses),
        "load_snapshots": latest_loads(loads, loads.clear()),
        "network_history": bucket_samples(panels, [], 1),
    }


def _buckets(panels: pl.DataFrame, loads: pl.DataFrame) -> Results:
    return {
        "ven_history": bucket_samples(panels, ["ven_id"], SLOT_S),
        "load_history": bucket_samples(loads, ["ven_id", "load_id"], SLOT_S),
    }


def copy_out(connection: Connection, results: Results) -> None:
    cursor = driver_connection(connection).cursor()
    for table, frame in results.items():
        cursor.execute(f"CREATE TEMPORARY TABLE bare_{table} (LIKE {table}) ON COMMIT DROP".encode())
        rows = frame.select(list(FRAMES[table].types()))
        filled = rows.select(column.name for column in rows if column.null_count() < rows.height)
        copy_in = f"COPY bare_{table} ({', '.join(filled.columns)}) FROM STDIN (FORMAT csv)"
        with cursor.copy(copy_in.encode()) as copy:
            copy.write(filled.write_csv(include_header=False, datetime_format="%Y-%m-%d %H:%M:%S%.6f+00"))


Measured = Mapping[str, Cost]


def measure(engines: Mapping[int, Engine]) -> dict[int, tuple[Measured, Measured]]:
    """By size of the history: the cost of each step, and the minimum of each lane.

    The databases alternate, so that other load of the machine affects all alike.
    """
    steps: dict[int, list[Measured]] = defaultdict(list)
    limits: dict[int, list[Measured]] = defaultdict(list)
    for number in range(CYCLES + 1):
        for times, engine in engines.items():
            ingest(engine, number)
            steps[times].append(cycle(engine))
            limits[times].append(fetch_and_copy(engine))
    return {times: (_typical(steps[times]), _typical(limits[times])) for times in engines}


def _typical(cycles: list[Measured]) -> Measured:
    """The median, without the first cycle, which opens connections and makes temporary tables."""
    return {name: typical(each[name] for each in cycles[1:]) for name in cycles[0]}


def test_a_cycle_with_more_and_more_history(make_database: MakeDatabase) -> None:
    engines = {times: with_history(make_database(), times * BASE_ROWS) for times in TIMES}
    measured = measure(engines)
    first = sum(measured[TIMES[0]][0].values(), Cost())
    for times, (steps, limits) in measured.items():
        both = sum(steps.values(), Cost())
        by_step = ", ".join(f"{name} {cost.cpu_s * 1000:.0f} ms" for name, cost in steps.items())
        print(
            f"\njobs: {NEW_ROWS:,} new rows behind {times * BASE_ROWS:,} raw rows: both lanes"
            f" {both.cpu_s * 1000:.0f} ms of CPU time, ratio to the first {both.cpu_s / first.cpu_s:.2f}"
            f" (by the clock {both.wall_s / first.wall_s:.2f}; {by_step}); against fetch and COPY:"
            f" {_against(steps, limits, 'snapshot')} (limit 3), {_against(steps, limits, 'history')}"
        )
    for engine in engines.values():
        with engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM pending_batches")).scalar_one() == 0
            assert connection.execute(text("SELECT count(*) FROM load_snapshots")).scalar_one() == VENS * 8
        engine.dispose()


def _against(steps: Measured, limits: Measured, lane: str) -> str:
    cost, limit = sum((steps[name] for name in LANES[lane]), Cost()), limits[lane]
    return f"{lane} lane {cost.cpu_s / limit.cpu_s:.2f} ({cost.wall_s / limit.wall_s:.2f} by the clock)"
