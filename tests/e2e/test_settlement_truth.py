"""Settlements against the truth: simulated homes of every kind and meter, through real ingest and jobs.

Three weeks of what the homes send, then an event of two hours. Each home knows what it would have used.
Steady homes, whose days are alike, are held to a few watt-hours whatever their meter. Of the others a day
cannot be told from the days before: single homes are held to what `10-of-10-adjusted` misses on the days
without events (decision 0035), and all together to less.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, product

import pytest
from sqlalchemy import Engine, insert, select

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from ingest.storing.store import Store
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from local.fleet.homes.events import ShedEvent
from local.fleet.homes.household import FURNISHINGS, Household
from local.fleet.telemetry.meters import IntervalMeter
from schemas.db.connections import connect
from schemas.demand_response.baselines import PRIMARY
from schemas.tables.events import event_participations, event_settlements, events, ven_settlements
from schemas.times.slots import width_changes

pytestmark = pytest.mark.thorough

SEED = 11
START = datetime(2026, 7, 16, 17, tzinfo=UTC)
"""A Thursday."""
END, DAY, HOUR = START + timedelta(hours=2), timedelta(days=1), timedelta(hours=1)
SETTLED_AT = END + timedelta(minutes=10)
ASKED_KW = 1.0
WIDTHS_S = (300, 900, 1_800)
DAYS = 16
EXACT_KWH = 0.005
"""Reports have three decimals."""

HOME_KWH, CAR_KWH, MEAN_KWH = 3.0, 8.0, 1.0
"""In two hours: of a single home, of one with a car that charges on some evenings, of all in the mean."""

JOBS = schedule(Cadence())
LANES = tuple(job for job in JOBS if job.has_backlog)
[SETTLEMENT] = (job for job in JOBS if job.name == "settlement")


def meters(*, is_steady: bool) -> list[IntervalMeter]:
    """A home of each kind with a meter of each width; all hear of the event, and obey."""
    event = ShedEvent("e", START.timestamp(), END.timestamp(), ASKED_KW)
    return [
        IntervalMeter(
            f"{kind}-{width_s}", Household(SEED, number, is_steady, furnishing=kind), width_s, event
        )
        for number, (kind, width_s) in enumerate(product(FURNISHINGS, WIDTHS_S), 1)
    ]


def messages(meter: IntervalMeter) -> Iterator[Received]:
    """From five hours before the event's start to its end, today and on the days before."""
    for back in range(DAYS, -1, -1):
        at = START - back * DAY - 5 * HOUR
        while at < END - back * DAY:
            message = meter.report(at.timestamp())
            yield Received(message.topic, message.payload, at + timedelta(seconds=meter.width_s))
            at += timedelta(seconds=meter.width_s)


def settle(engine: Engine, database_url: str, fleet: list[IntervalMeter]) -> None:
    with connect(database_url, "tests") as connection:
        store = Store(connection, "tests")
        sent = (each for meter in fleet for each in messages(meter))
        while some := list(islice(sent, 2_000)):
            store.write(Batch.of(some, timedelta(days=36_500)))
    with engine.begin() as connection:
        for meter in fleet:
            for statement in width_changes(meter.ven_id, START - 30 * DAY, meter.width_s, "people", START):
                connection.execute(statement)
        connection.execute(insert(events).values(EVENT))
        connection.execute(insert(event_participations).values([_part(meter) for meter in fleet]))
    runner = Runner(engine, lambda: SETTLED_AT)
    runner.catch_up(LANES)
    assert runner.run(SETTLEMENT) == 1


EVENT = {
    "event_id": "e",
    "status": "completed",
    "start_time": START,
    "end_time": END,
    "requested_reduction_kw": ASKED_KW * len(FURNISHINGS) * len(WIDTHS_S),
    "notify_at": START - HOUR,
    "started_at": START,
    "ended_at": END,
    "created_at": START - HOUR,
}


def _part(meter: IntervalMeter) -> dict[str, object]:
    return {
        "ven_id": meter.ven_id,
        "event_id": "e",
        "status": "finished",
        "available_kw": ASKED_KW,
        "requested_reduction_kw": ASKED_KW,
        "notified_at": START - HOUR,
    }


@pytest.mark.parametrize("is_steady", [True, False], ids=["steady", "changing"])
def test_settlements_are_what_the_homes_know(engine: Engine, database_url: str, *, is_steady: bool) -> None:
    fleet = meters(is_steady=is_steady)
    settle(engine, database_url, fleet)
    settled = ven_settlements.c
    with engine.connect() as connection:
        rows = connection.execute(
            select(
                settled.ven_id,
                settled.delivered_kwh,
                settled.delivered_kw,
                settled.coverage_percent,
                settled.days_used,
            ).where(settled.baseline == PRIMARY)
        ).all()
        [portfolio] = connection.execute(
            select(event_settlements.c.delivered_kwh, event_settlements.c.delivered_kw).where(
                event_settlements.c.baseline == PRIMARY
            )
        ).all()
    measured = {row.ven_id: row for row in rows}
    missed = {meter.ven_id: measured[meter.ven_id].delivered_kwh - meter.delivered_kwh() for meter in fleet}
    print({ven_id: round(kwh, 3) for ven_id, kwh in missed.items()})
    assert {(row.coverage_percent, row.days_used) for row in rows} == {(100.0, 10)}
    for ven_id, kwh in missed.items():
        within_kwh = CAR_KWH if ven_id.startswith("ev") else HOME_KWH
        assert abs(kwh) <= (EXACT_KWH if is_steady else within_kwh), missed
    assert abs(sum(missed.values())) / len(missed) <= (EXACT_KWH if is_steady else MEAN_KWH)
    assert sum(meter.delivered_kwh() for meter in fleet) > ASKED_KW * len(fleet) / 2
    # Parts sum to the whole, and kW times hours is kWh.
    assert portfolio.delivered_kwh == pytest.approx(sum(row.delivered_kwh for row in rows))
    for row in (*rows, portfolio):
        assert row.delivered_kw * ((END - START) / HOUR) == pytest.approx(row.delivered_kwh)


def test_no_event_delivers_next_to_nothing(engine: Engine, database_url: str) -> None:
    """Steady homes that were asked and did nothing: no kind of home and no meter is credited or charged."""
    fleet = [IntervalMeter(each.ven_id, each.home, each.width_s) for each in meters(is_steady=True)]
    settle(engine, database_url, fleet)
    with engine.connect() as connection:
        delivered = connection.execute(
            select(ven_settlements.c.ven_id, ven_settlements.c.delivered_kwh).where(
                ven_settlements.c.baseline == PRIMARY
            )
        ).all()
    assert max(abs(kwh) for _, kwh in delivered) <= EXACT_KWH, delivered
