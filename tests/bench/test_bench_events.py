"""The cost of an event with many VENs: notification, polling twice a second, progress and settlement.

`BENCH_EVENT_VENS`: how many (10,000). `BENCH_MEASURED_VENS`: how many have history (1,000).
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from resource import RUSAGE_SELF, getrusage
from typing import Any

import polars as pl
import pytest
from sqlalchemy import Connection, Engine, select, text

from jobs.events.lifecycle import follow_participations, move_events_on, share_out
from jobs.events.measuring import Rules
from jobs.events.progress import Progress
from jobs.events.records import read_usage
from jobs.events.settlement import settle
from jobs.queries.events import following as following_queries
from jobs.settings import Cadence
from jobs.summaries.models import FollowedPartFrame
from jobs.summaries.rows import fetch
from schemas.baseline_model.usage import Usage
from schemas.db.connections import connect, engine_for
from schemas.tables.events import CommandFrame, EventParticipationFrame, commands, event_participations
from schemas.times.time_ranges import TimeRange
from tests.bench.conftest import MakeDatabase
from tests.bench.cost import Cost, cost_of, typical
from tests.bench.test_bench_jobs import copy_out

pytestmark = pytest.mark.bench

VENS = int(os.environ.get("BENCH_EVENT_VENS", "10000"))
MEASURED_VENS = int(os.environ.get("BENCH_MEASURED_VENS", "1000"))
START = datetime(2024, 7, 10, 16, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TICKS = 9

FLEET = """
INSERT INTO vens (ven_id, created_at) SELECT 'ven-' || v, now() FROM generate_series(1, {vens}) v;
INSERT INTO ven_snapshots (ven_id, ts, used_power_kw, used_power_ts, shed_power_kw, status)
SELECT ven_id, '2024-07-10 16:01Z', 2, '2024-07-10 16:01Z', 0, 'online' FROM vens;
INSERT INTO load_snapshots (ven_id, load_id, ts, shed_capability_kw)
SELECT ven_id, 'load-' || l, '2024-07-10 15:59Z', 0.4 FROM vens, generate_series(1, 8) l;
INSERT INTO events (event_id, status, start_time, end_time, requested_reduction_kw, notify_at, created_at)
VALUES ('e', 'scheduled', '2024-07-10 16:00Z', '2024-07-10 17:00Z', {vens}, '2024-07-10 15:50Z', now());
"""
HISTORY = """
INSERT INTO ven_history SELECT 'ven-' || v, 300, slot, 5 * (3 + sin(v) + random() / 3), 0, 5, 5, 5
FROM generate_series(144, 239) n, generate_series(1, {vens}) v,
    LATERAL (SELECT timestamptz '2024-07-10Z' - {back} * interval '1 day' + n * interval '5 min' AS slot) s
WHERE slot < '2024-07-10 17:00Z' ORDER BY slot, v;
"""


def with_fleet(database_url: str, vens: int, more: str = "") -> Engine:
    with connect(database_url, "bench") as connection:
        connection.execute(FLEET.format(vens=vens).encode())
        for back in range(21, -1, -1) if more else ():
            connection.execute(more.format(vens=vens, back=back).encode())
        connection.execute("VACUUM ANALYZE")
    return engine_for(database_url, "bench")


def summary(what: str, cost: Cost, limit: Cost) -> str:
    return (
        f"\nevents: {what}: {cost.cpu_s * 1000:.0f} ms of CPU time ({cost.wall_s * 1000:.0f} by the clock),"
        f" ratio {cost.cpu_s / limit.cpu_s:.2f}"
    )


def step(work: Callable[..., int], now: datetime, **options: Any) -> Callable[[Connection], int]:
    return lambda connection: work(connection, now, **options)


def test_notifying_and_polling(make_database: MakeDatabase) -> None:
    engine = with_fleet(make_database(), VENS)
    rest = Cadence().rest()
    notifying = cost_of(engine, step(share_out, START - HOUR / 6, rest=rest))
    starting = cost_of(engine, step(move_events_on, START))
    with engine.connect() as connection:
        rows: dict[str, pl.DataFrame] = {
            "commands": fetch(connection, select(commands), CommandFrame),
            "event_participations": fetch(connection, select(event_participations), EventParticipationFrame),
        }
    assert {frame.height for frame in rows.values()} == {VENS}
    copying = cost_of(engine, lambda connection: copy_out(connection, rows))
    print(summary(f"telling {VENS:,} VENs, against COPY of the same rows", notifying, copying), end="")
    polls = [
        sum(
            (
                cost_of(engine, work)
                for work in (
                    step(move_events_on, START + HOUR / 2),
                    step(follow_participations, START + HOUR / 2),
                    step(share_out, START + HOUR / 2, rest=rest),
                )
            ),
            Cost(),
        )
        for _ in range(TICKS)
    ]
    with engine.connect() as connection:
        followed = following_queries.followed_events().all(connection)
    all_participations = following_queries.followed_parts(followed, START + HOUR / 2, only_news=False)
    reading = [
        cost_of(engine, lambda connection: fetch(connection, all_participations, FollowedPartFrame))
        for _ in range(TICKS)
    ]
    print(
        summary("a look at it while it runs, against a fetch of all parts", typical(polls), typical(reading)),
        end="",
    )
    ending = cost_of(engine, step(move_events_on, START + HOUR))
    print(
        f"\nevents: by the clock, starting {starting.wall_s * 1000:.0f} ms,"
        f" ending {ending.wall_s * 1000:.0f} ms"
    )
    with engine.connect() as connection:
        over = connection.execute(text("SELECT DISTINCT status FROM event_participations")).scalars().all()
    assert over == ["finished"]
    engine.dispose()


def test_following_and_settling(make_database: MakeDatabase) -> None:
    engine = with_fleet(make_database(), MEASURED_VENS, HISTORY)
    rules = Cadence().rules()
    cost_of(engine, step(share_out, START - HOUR / 6, rest=Cadence().rest()))
    following = Progress(rules).follow_events
    ahead = cost_of(engine, step(following, START - HOUR / 12))
    cost_of(engine, step(move_events_on, START))
    running = [cost_of(engine, step(following, START + minute * HOUR / 60)) for minute in range(31, 40)]
    ven_ids = [f"ven-{number}" for number in range(1, MEASURED_VENS + 1)]
    days = [back for back in range(1, 22) if (START - back * DAY).weekday() < 5]
    reading = {most: cost_of(engine, _slots(ven_ids, days[:most])) for most in (10, 11)}
    now = cost_of(engine, _slots(ven_ids, [0]))
    print(
        summary(
            f"baselines of {MEASURED_VENS:,} VENs ahead, against a fetch of their slots", ahead, reading[10]
        ),
        end="",
    )
    print(summary("a cycle while it runs, against a fetch of the day's slots", typical(running), now), end="")
    cost_of(engine, step(move_events_on, START + HOUR))
    settling = cost_of(engine, lambda connection: _settled(connection, rules))
    print(summary("settling it, against a fetch of the slots", settling, reading[11]))
    print(
        f"events: settling {MEASURED_VENS:,} VENs: {settling.own_cpu_s / MEASURED_VENS * 1e6:.0f} us of CPU"
        f" time a VEN in the job, {settling.server_cpu_s / MEASURED_VENS * 1e6:.0f} us in the server;"
        f" at most {getrusage(RUSAGE_SELF).ru_maxrss / 1024:.0f} MB of memory so far"
    )
    with engine.connect() as connection:
        reduction_kw = connection.execute(
            text("SELECT current_reduction_kw FROM event_progress")
        ).scalar_one()
    assert reduction_kw is not None
    engine.dispose()


def _settled(connection: Connection, rules: Rules) -> None:
    """With all that it writes, and without parallel workers: their CPU time would not be counted."""
    connection.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))
    settled = settle(connection, START + 2 * HOUR, rules, "e")
    assert settled is not None
    assert settled.is_new


def _slots(ven_ids: list[str], days: list[int]) -> Callable[[Connection], Usage]:
    ranges = [
        TimeRange(START - back * DAY - hours * HOUR, START - back * DAY - hours * HOUR + width * HOUR)
        for back in reversed(days)
        for hours, width in ((4, 3), (0, 1))
    ]
    return lambda connection: read_usage(connection, ven_ids, ranges)
