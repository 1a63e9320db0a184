"""The 90 % intervals of deliveries against the truth: 200 events of the simulated fleet.

Ten fleets of twelve homes, each in another season, and twenty evenings of each: a simulated home knows what
it would have used, so what an event delivered is known exactly. All have shed the same, half a kilowatt: the
error is that of the baseline.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from msgspec import Struct
from numpy.typing import NDArray

from jobs.transforms.events.intervals import ENDS, portfolio_misses, with_portfolio_interval
from jobs.transforms.events.performance import (
    covered_shares,
    portfolio_errors,
    portfolio_sums,
    settle_portfolio,
    settle_vens,
)
from jobs.transforms.events.usage import counted_hours, event_usage
from local.fleet.homes.household import Household
from schemas.baseline_model.days import Calendar, Occasion
from schemas.baseline_model.prediction import days_of, predict_from
from schemas.baseline_model.usage import Usage
from schemas.demand_response.baselines import PRIMARY, BaselineName
from schemas.tables.events import INTERVAL_PERCENT
from schemas.tables.history import SLOT_S

pytestmark = pytest.mark.accuracy

NAMES: tuple[BaselineName, ...] = (PRIMARY, "10-of-10", "high-5-of-10")
FLEETS, EVENTS, HOMES, DAYS = 10, 20, 12, 75
FIRST, LAST = 12, 22
"""Hours of each day that are simulated, UTC."""
SHED_KW = 0.5
FLOOR, CEILING = 85.0, 95.0
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NO_EVENTS = pl.DataFrame(
    schema={"ven_id": pl.String, "start": pl.Datetime("us", "UTC"), "end": pl.Datetime("us", "UTC")}
)
NO_SAMPLES = pl.DataFrame(schema={"ven_id": pl.String, "ts": pl.Datetime("us", "UTC"), "used_kw": pl.Float64})


class Fleet(Struct, frozen=True):
    """What some homes use without events, and since when."""

    start: datetime
    usage: Usage


def simulated(seed: int) -> Fleet:
    start = datetime(2026, 1, 5, tzinfo=UTC) + 31 * DAY * (seed - 1)
    per_day = np.arange(FIRST * 3_600 // SLOT_S, LAST * 3_600 // SLOT_S)
    first = int(start.timestamp()) // SLOT_S
    slots = np.concatenate([first + day * (86_400 // SLOT_S) + per_day for day in range(DAYS)])
    homes = [Household(seed, number) for number in range(1, HOMES + 1)]
    kw = [[home.read(int(slot) * SLOT_S + SLOT_S / 2).natural_kw for slot in slots] for home in homes]
    return Fleet(start, Usage([home.ven_id for home in homes], slots, np.array(kw)))


def occasions(fleet: Fleet, seed: int) -> Iterator[Occasion]:
    """Evenings of any day of the week, of one to two hours, whose notice is half an hour."""
    random = np.random.default_rng(seed)
    for _ in range(EVENTS):
        day, half_hour, length = (int(random.integers(*ends)) for ends in ((46, DAYS), (32, 38), (2, 5)))
        start = fleet.start + day * DAY + half_hour * HOUR / 2
        yield Occasion(start, start + length * HOUR / 2, start - HOUR / 2)


def measured(fleet: Fleet, occasion: Occasion) -> tuple[pl.DataFrame, pl.DataFrame]:
    """What VENs and portfolio delivered: each home `SHED_KW` less than it would have used."""
    usage, window = fleet.usage, occasion.window
    first, last = (int(at.timestamp()) // SLOT_S for at in (window.start, window.end))
    kw = usage.kw.copy()
    kw[:, np.searchsorted(usage.slots, first) : np.searchsorted(usage.slots, last)] -= SHED_KW
    obeyed = Usage(usage.ven_ids, usage.slots, kw)
    prediction = predict_from(obeyed, NO_EVENTS, days_of(occasion, Calendar(), NAMES), 0.2, names=NAMES)
    used = event_usage(obeyed, NO_SAMPLES, window, [])
    hours = counted_hours(usage.ven_ids, NO_EVENTS, window)
    people = pl.DataFrame({"ven_id": usage.ven_ids}).with_columns(
        requested_kwh=pl.lit(SHED_KW), has_opted_out=pl.lit(value=False)
    )
    vens = settle_vens(used, hours, prediction, people, window)
    errors = portfolio_errors(prediction, np.ones(HOMES, dtype=bool))
    sums = [portfolio_sums(vens)]
    figures = settle_portfolio(sums, errors, SHED_KW * HOMES, window, NAMES)
    misses = portfolio_misses(prediction, covered_shares(vens, usage.ven_ids, NAMES), 1.0)
    return vens, with_portfolio_interval(figures, sums, misses)


def holds(rows: pl.DataFrame, name: BaselineName, truth_kw: float) -> NDArray[np.bool_]:
    low, high = (pl.col(end) for end in ENDS)
    held = rows.filter(baseline=name).select((low <= truth_kw) & (high >= truth_kw)).to_series()
    assert held.null_count() == 0
    return held.to_numpy()


def test_nine_of_ten_intervals_hold_what_was_delivered(capsys: pytest.CaptureFixture[str]) -> None:
    held: dict[tuple[str, str], list[bool]] = {}
    for seed in range(1, FLEETS + 1):
        fleet = simulated(seed)
        for occasion in occasions(fleet, seed):
            vens, portfolio = measured(fleet, occasion)
            for name in NAMES:
                held.setdefault((name, "VENs"), []).extend(holds(vens, name, SHED_KW))
                held.setdefault((name, "portfolio"), []).extend(holds(portfolio, name, SHED_KW * HOMES))
    percent = {of: 100 * float(np.mean(each)) for of, each in held.items()}
    with capsys.disabled():
        for (by, of), value in percent.items():
            count = len(held[by, of])
            print(f"\n{by}: {value:.1f} % of {count} {INTERVAL_PERCENT} % intervals of {of} hold", end="")
    assert len(held[PRIMARY, "portfolio"]) == FLEETS * EVENTS
    for of_baseline, value in percent.items():
        assert FLOOR <= value <= CEILING, of_baseline
