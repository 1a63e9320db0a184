"""Half of one core: 10,000 VENs with 8 loads each, a report every 5 seconds, both lanes on their schedule."""

from collections import defaultdict
from datetime import timedelta
from functools import partial

import psycopg
import pytest
from sqlalchemy import Connection, Engine

from jobs.running.schedule import Step
from jobs.summaries.lanes import (
    consume_history_batches,
    consume_snapshot_batches,
    refresh_energy,
    refresh_totals,
)
from schemas.db.connections import connect, engine_for
from tests.bench.conftest import MakeDatabase
from tests.bench.cost import Cost, cost_of
from tests.bench.fleet import NOON

pytestmark = pytest.mark.bench

VENS = 10_000
LOADS = 8
REPORT_EVERY_S = 5
BATCHES_PER_S = 10
MOST_OF_A_CORE = 0.5
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
    FROM batch, generate_series(%(first)s, 9999, %(step)s) v RETURNING ven_id, batch_id, used_power_kw
), sampled AS (
    INSERT INTO ven_load_samples (ven_id, load_id, ts, load_type, used_power_kw, shed_power_kw, capacity_kw,
        shed_capability_kw, enabled, batch_id)
    SELECT ven_id, 'load-' || l, %(at)s, 'type-' || l, used_power_kw, 0, 3.5, 1.5, true, batch_id
    FROM reported, generate_series(1, 8) l RETURNING 1
)
INSERT INTO pending_batches SELECT lane, batch_id FROM batch, unnest(array['snapshot', 'history']) lane
"""


def report_for(connection: psycopg.Connection, second: int) -> None:
    """The reports of a second: every fifth VEN, in ten batches."""
    step = REPORT_EVERY_S * BATCHES_PER_S
    for number in range(BATCHES_PER_S):
        at = NOON + timedelta(seconds=second + number / BATCHES_PER_S)
        first = second % REPORT_EVERY_S + number * REPORT_EVERY_S
        values = {"vens": VENS // step, "at": at, "first": first, "step": step}
        connection.execute(REPORT, values)


def test_both_lanes_keep_up(make_database: MakeDatabase) -> None:
    database_url = make_database()
    engine = engine_for(database_url, "bench")
    spent: dict[str, Cost] = defaultdict(Cost)
    with connect(database_url, "bench") as connection:
        connection.execute(REGISTER.encode())
        for number in range(ROUNDS):
            if number == 1:
                spent.clear()
            for second in range(HISTORY_EVERY_S):
                report_for(connection, number * HISTORY_EVERY_S + second)
                if (second + 1) % SNAPSHOT_EVERY_S == 0:
                    cycle(engine, spent, consume_snapshot_batches, refresh_totals)
            cycle(engine, spent, consume_history_batches, refresh_energy)
    engine.dispose()
    seconds = (ROUNDS - 1) * HISTORY_EVERY_S
    both = sum(spent.values(), Cost())
    by_step = ", ".join(f"{step} {cost.cpu_s / seconds * 1000:.0f} ms" for step, cost in spent.items())
    print(
        f"\njobs: {VENS:,} VENs x {LOADS} loads, a report every {REPORT_EVERY_S} s: both lanes take"
        f" {both.cpu_s / seconds:.0%} of a core (limit 50%), {both.own_cpu_s / seconds:.0%} in Python and"
        f" {both.server_cpu_s / seconds:.0%} in PostgreSQL, and {both.wall_s / seconds:.0%} of the time by"
        f" the clock; CPU time each second: {by_step}"
    )
    assert both.cpu_s / seconds < MOST_OF_A_CORE


def cycle(engine: Engine, spent: dict[str, Cost], *steps: Step) -> None:
    for step in steps:
        spent[step.__name__] += cost_of(engine, partial(run_step, step))


def run_step(step: Step, connection: Connection) -> None:
    step(connection, NOON)
