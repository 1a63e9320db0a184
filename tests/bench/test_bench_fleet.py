"""Half of one core: 10,000 VENs with 8 loads each, a report every 5 seconds, both lanes on their schedule."""

import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime, timedelta
from statistics import median

import psycopg
import pytest
from sqlalchemy import Connection, Engine

from jobs.lanes import consume_history_batches, consume_snapshot_batches, refresh_energy, refresh_totals
from schemas.database import connect, engine_for
from tests.bench.conftest import MakeDatabase
from tests.bench.fleet import NOON

pytestmark = pytest.mark.bench

VENS = 10_000
LOADS = 8
REPORT_EVERY_S = 5
SNAPSHOT_EVERY_S = 2
HISTORY_EVERY_S = 10
ROUNDS = 4
"""Of ten seconds each; the first, in which everything is inserted, does not count."""

REGISTER = f"""
SELECT ensure_raw_partitions(array[date '2024-07-10']);
INSERT INTO vens (ven_id, created_at) SELECT 'ven-' || v, now() FROM generate_series(0, {VENS} - 1) v;
"""
REPORT = """
WITH batch AS (
    INSERT INTO ingest_batches (worker, received_at, messages, telemetry_rows, sample_rows, description_rows,
        status_rows, first_ts, last_ts)
    SELECT 'bench', now(), %(vens)s, %(vens)s, %(vens)s * 8, 0, 0, %(at)s, %(at)s RETURNING batch_id
), reported AS (
    INSERT INTO ven_telemetry (ven_id, ts, used_power_kw, shed_power_kw, payload, received_at, batch_id)
    SELECT 'ven-' || v, %(at)s, v / 8.0, 0, '{}', now(), batch_id
    FROM batch, generate_series(%(first)s, 9999, 5) v RETURNING ven_id, batch_id, used_power_kw
), sampled AS (
    INSERT INTO ven_load_samples (ven_id, load_id, ts, load_type, used_power_kw, shed_power_kw, capacity_kw,
        shed_capability_kw, enabled, batch_id)
    SELECT ven_id, 'load-' || l, %(at)s, 'type-' || l, used_power_kw, 0, 3.5, 1.5, true, batch_id
    FROM reported, generate_series(1, 8) l RETURNING 1
)
INSERT INTO pending_batches SELECT lane, batch_id FROM batch, unnest(array['snapshot', 'history']) lane
"""


def report_for(connection: psycopg.Connection, second: int) -> None:
    """What arrives within a second: every fifth VEN."""
    values = {"vens": VENS // REPORT_EVERY_S, "at": NOON + timedelta(seconds=second), "first": second % 5}
    connection.execute(REPORT, values)


def timed(engine: Engine, step: Callable[[Connection, datetime], int]) -> float:
    start = time.perf_counter()
    with engine.begin() as connection:
        step(connection, NOON)
    return time.perf_counter() - start


def test_both_lanes_keep_up(make_database: MakeDatabase) -> None:
    database_url = make_database()
    engine = engine_for(database_url, "bench")
    took: dict[str, list[float]] = defaultdict(list)
    own_cpu: list[float] = []
    with connect(database_url, "bench") as connection:
        connection.execute(REGISTER.encode())
        for number in range(ROUNDS):
            own_s = 0.0
            for second in range(HISTORY_EVERY_S):
                report_for(connection, number * HISTORY_EVERY_S + second)
                if (second + 1) % SNAPSHOT_EVERY_S == 0:
                    own_s += cycle(engine, took, consume_snapshot_batches, refresh_totals)
            own_s += cycle(engine, took, consume_history_batches, refresh_energy)
            own_cpu.append(own_s)
    engine.dispose()
    snapshots = HISTORY_EVERY_S // SNAPSHOT_EVERY_S
    steps = {
        name: median(times[len(times) // ROUNDS :]) * (snapshots if len(times) > ROUNDS else 1)
        for name, times in took.items()
    }
    busy = sum(steps.values()) / HISTORY_EVERY_S
    each_ms = {name: step_s * 1000 / HISTORY_EVERY_S for name, step_s in steps.items()}
    told = ", ".join(f"{name} {step_ms:.0f} ms" for name, step_ms in each_ms.items())
    print(
        f"\njobs: {VENS:,} VENs x {LOADS} loads, a report every {REPORT_EVERY_S} s: both lanes are busy"
        f" {busy:.0%} of the time (limit 50%), {median(own_cpu[1:]) / HISTORY_EVERY_S:.0%} of a core"
        f" in Python; each second: {told}"
    )


def cycle(
    engine: Engine, took: dict[str, list[float]], *steps: Callable[[Connection, datetime], int]
) -> float:
    start = time.process_time()
    for step in steps:
        took[step.__name__].append(timed(engine, step))
    return time.process_time() - start
