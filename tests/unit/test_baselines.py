"""Baselines and performance against plain loops that a reader can check by eye."""

import math
import random
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.transforms.events.performance import (
    differ,
    directed,
    portfolio_errors,
    portfolio_sums,
    settle_portfolio,
    settle_vens,
)
from jobs.transforms.events.usage import counted_hours, cuts, event_usage
from schemas.baseline_model.days import Calendar, Occasion, similar_days
from schemas.baseline_model.prediction import days_of, predict
from schemas.baseline_model.usage import usage_of
from schemas.demand_response.baselines import GENERIC, BaselineName
from schemas.times.time_ranges import TimeRange
from tests.examples import costly

SLOT = timedelta(minutes=5)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
CAP = 0.2
LEAST_COVERAGE_PERCENT = 80.0
FOUR = datetime(2024, 7, 10, 16, tzinfo=UTC)
"""A Wednesday."""

SLOTS = pl.Schema({"ven_id": pl.String(), "slot": pl.Datetime("us", "UTC"), "used_kw": pl.Float64()})
SAMPLES = pl.Schema({"ven_id": pl.String(), "ts": pl.Datetime("us", "UTC"), "used_kw": pl.Float64()})
TAKEN = pl.Schema({"ven_id": pl.String(), "start": pl.Datetime("us", "UTC"), "end": pl.Datetime("us", "UTC")})
PARTICIPANTS = pl.Schema({"ven_id": pl.String(), "requested_kw": pl.Float64(), "has_opted_out": pl.Boolean()})
AWAY = pl.Schema({"ven_id": pl.String(), "start": pl.Datetime("us", "UTC"), "end": pl.Datetime("us", "UTC")})

History = dict[datetime, float]
"""Mean power of one VEN by the start of the slot."""


# The plain loops


def floor(instant: datetime) -> datetime:
    return instant - (instant - datetime(1970, 1, 1, tzinfo=UTC)) % SLOT


def pieces(start: datetime, end: datetime) -> list[tuple[datetime, float]]:
    """Each slot of a window with the seconds of it that lie within."""
    found, slot = [], floor(start)
    while slot < end:
        found.append((slot, (min(slot + SLOT, end) - max(slot, start)).total_seconds()))
        slot += SLOT
    return found


def mean(weighted: list[tuple[float, float]]) -> float:
    return sum(value * weight for value, weight in weighted) / sum(weight for _, weight in weighted)


class Loop:
    """One VEN's baselines, one day and one slot after the other."""

    def __init__(
        self, history: History, taken: list[TimeRange], occasion: Occasion, calendar: Calendar
    ) -> None:
        busy = [slot for event in taken for slot, _ in pieces(event.start, event.end)]
        self.history = {slot: kw for slot, kw in history.items() if slot not in busy}
        self.taken, self.occasion, self.calendar = taken, occasion, calendar
        self.zone = ZoneInfo(calendar.time_zone)
        known = min(occasion.start - HOUR, occasion.notified_at)
        last = floor(occasion.start)
        self.event = pieces(occasion.start, occasion.end)
        self.adjustment = pieces(known - 3 * HOUR, known)
        self.around = pieces(occasion.start - 4 * HOUR, occasion.start - HOUR)
        self.around += pieces(occasion.end + HOUR, occasion.end + 3 * HOUR)
        self.before = pieces(last - HOUR, last)
        self.by_clock = defaultdict[datetime, list[float]](list)
        for slot, kw in self.history.items():
            self.by_clock[self.clock(slot)].append(kw)

    def clock(self, instant: datetime) -> datetime:
        return instant.astimezone(self.zone).replace(tzinfo=None)

    def used(self, slot: datetime, back: int) -> float | None:
        """What was used in a slot of the event's day, or so many days earlier at the same local time."""
        if back == 0:
            return self.history.get(slot)
        both = self.by_clock.get(self.clock(slot) - back * DAY, [])
        return sum(both) / len(both) if both else None

    def known(self, part: list[tuple[datetime, float]], back: int) -> list[tuple[float, float]]:
        looked_up = [(self.used(slot, back), seconds) for slot, seconds in part]
        return [(kw, seconds) for kw, seconds in looked_up if kw is not None]

    def has_enough(self, part: list[tuple[datetime, float]], back: int) -> bool:
        return len(self.known(part, back)) >= 0.8 * len(part)

    def is_weekend(self, day: date) -> bool:
        return day.weekday() in {5, 6} or day in self.calendar.holidays

    def is_busy(self, back: int) -> bool:
        looked_at = [
            self.clock(instant).date()
            for part in (self.event, self.adjustment)
            for instant in (part[0][0], part[-1][0])
        ]
        looked_at.append(
            self.clock(min(self.occasion.start - HOUR, self.occasion.notified_at) - 3 * HOUR).date()
        )
        first, last = min(looked_at), max(looked_at)
        for event in self.taken:
            event_first = self.clock(event.start).date() + back * DAY
            event_last = self.clock(event.end - TICK).date() + back * DAY
            if event_first <= last and first <= event_last:
                return True
        return False

    def similar(self) -> list[int]:
        today = self.clock(self.occasion.start).date()
        own = (self.clock(self.occasion.end - TICK).date() - today).days
        return [
            back
            for back in range(own + 1, self.calendar.look_back_days + 1)
            if today - back * DAY not in self.calendar.holidays
            and self.is_weekend(today - back * DAY) == self.is_weekend(today)
        ]

    def pool(self) -> list[int]:
        return [
            back for back in self.similar() if self.has_enough(self.event, back) and not self.is_busy(back)
        ]

    def of_days(self, highest: int, last: int, target: int, *, adjusted: bool) -> dict[datetime, float]:
        recent = [back for back in self.pool() if back != target][:last]
        fewest = 4 if self.is_weekend(self.clock(self.occasion.start).date()) else 5
        if len(recent) < fewest:
            return {}
        by_usage = sorted(recent, key=lambda back: (-mean(self.known(self.event, back)), back))
        chosen = by_usage[:highest]
        before = self.mean_of(chosen, self.event)
        factor, added = self.adjustment_of(before, chosen, target) if adjusted else (1.0, 0.0)
        return {slot: kw * factor + added for slot, kw in before.items()}

    def mean_of(self, chosen: list[int], part: list[tuple[datetime, float]]) -> dict[datetime, float]:
        means = {}
        for slot, _ in part:
            values = [kw for back in chosen if (kw := self.used(slot, back)) is not None]
            if values:
                means[slot] = sum(values) / len(values)
        return means

    def adjustment_of(
        self, before: dict[datetime, float], chosen: list[int], target: int
    ) -> tuple[float, float]:
        """A factor and an addend, by the sign and the size of what is adjusted."""
        expected, both = self.mean_of(chosen, self.adjustment), []
        for slot, seconds in self.adjustment:
            used = self.used(slot, target)
            if used is not None and slot in expected:
                both.append((used, expected[slot], seconds))
        if len(both) < 0.8 * len(self.adjustment):
            return 1.0, 0.0
        actual = mean([(used, seconds) for used, _, seconds in both])
        base = mean([(kw, seconds) for _, kw, seconds in both])
        weights = {slot: seconds for slot, seconds in self.event if slot in before}
        load = mean([(before[slot], seconds) for slot, seconds in weights.items()])
        if min(before.values()) >= 0 and base > 0 and base >= load / 2:
            return min(max(actual / base, 1 - CAP), 1 + CAP), 0.0
        if base * load < 0:
            return 1.0, 0.0
        reach = CAP * mean([(abs(before[slot]), seconds) for slot, seconds in weights.items()])
        return 1.0, min(max(actual - base, -reach), reach)

    def flat(self, part: list[tuple[datetime, float]], target: int, enough: float) -> dict[datetime, float]:
        known = self.known(part, target)
        return {slot: mean(known) for slot, _ in self.event} if len(known) >= max(enough, 1) else {}

    def own(self, name: str, target: int) -> dict[datetime, float]:
        match name:
            case "same-day-3+2":
                return self.flat(self.around, target, 0.8 * len(self.around))
            case "last-samples":
                return self.flat(self.before, target, 1)
        highest = 5 if name.startswith("high-5") else 10
        return self.of_days(highest, 10, target, adjusted=name.endswith("adjusted"))

    def baseline(self, name: str) -> dict[datetime, float]:
        return self.own(name, 0) or self.own("last-samples", 0)

    def rrmse(self, name: str) -> float | None:
        squares, actuals = [], []
        for target in self.pool()[:10]:
            by_hour = defaultdict[int, list[tuple[float, float, float]]](list)
            predicted = self.own(name, target)
            for slot, seconds in self.event:
                used = self.used(slot, target)
                if used is not None and slot in predicted:
                    hour = (slot - self.event[0][0]) // HOUR
                    by_hour[hour].append((used, predicted[slot], seconds))
            for rows in by_hour.values():
                used = mean([(row[0], row[2]) for row in rows])
                squares.append((used - mean([(row[1], row[2]) for row in rows])) ** 2)
                actuals.append(used)
        if not actuals or sum(actuals) <= 0:
            return None
        return 100 * math.sqrt(sum(squares) / len(squares)) / (sum(actuals) / len(actuals))


# Frames for the transforms


def frame(histories: dict[str, History]) -> pl.DataFrame:
    rows = [
        {"ven_id": ven_id, "slot": slot, "used_kw": kw}
        for ven_id, history in histories.items()
        for slot, kw in history.items()
    ]
    return pl.DataFrame(rows, schema=SLOTS)


def taken_frame(taken: dict[str, list[TimeRange]]) -> pl.DataFrame:
    rows = [
        {"ven_id": ven_id, "start": event.start, "end": event.end}
        for ven_id, events in taken.items()
        for event in events
    ]
    return pl.DataFrame(rows, schema=TAKEN)


def participants(**requested_kw: float) -> pl.DataFrame:
    rows = [{"ven_id": ven, "requested_kw": kw, "has_opted_out": False} for ven, kw in requested_kw.items()]
    return pl.DataFrame(rows, schema=PARTICIPANTS)


NO_SAMPLES = pl.DataFrame(schema=SAMPLES)
NOTHING_TAKEN = pl.DataFrame(schema=TAKEN)


def settled(
    histories: dict[str, History],
    occasion: Occasion,
    people: pl.DataFrame,
    calendar: Calendar | None = None,
    taken: pl.DataFrame = NOTHING_TAKEN,
    away: pl.DataFrame = NOTHING_TAKEN,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """VENs and portfolio, as a settlement makes them."""
    calendar = calendar or Calendar()
    prediction = predict(frame(histories), taken, occasion, calendar, CAP)
    usage = usage_of(frame(histories))
    used = event_usage(usage, NO_SAMPLES, occasion.window, [])
    hours = counted_hours(usage.ven_ids, away, occasion.window)
    asked_kw = float(people.get_column("requested_kw").sum())
    people = people.with_columns(requested_kwh=pl.col("requested_kw") * hours_of(occasion))
    vens = settle_vens(used, hours, prediction, people, occasion.window, LEAST_COVERAGE_PERCENT)
    left_out = people.filter("has_opted_out").get_column("ven_id")
    is_counted = ~np.isin(np.array(prediction.ven_ids, dtype=str), np.array(left_out.to_list(), dtype=str))
    errors = portfolio_errors(prediction, is_counted)
    sums = [portfolio_sums(vens)]
    portfolio = settle_portfolio(
        sums, errors, asked_kw, occasion.window, prediction.baselines, LEAST_COVERAGE_PERCENT
    )
    return vens, portfolio


def hours_of(occasion: Occasion) -> float:
    return (occasion.end - occasion.start) / HOUR


def one(rows: pl.DataFrame, **keys: str) -> dict[str, Any]:
    [row] = rows.filter(**keys).to_dicts()
    return row


def steady(kw: float, start: datetime, end: datetime) -> History:
    return {slot: kw for slot, _ in pieces(start, end)}


def month_of(kw: float, until: datetime = FOUR + 8 * HOUR) -> History:
    """The same power in every slot of the thirty days before a time."""
    return steady(kw, until - 30 * DAY, until)


@pytest.mark.thorough
@given(
    st.lists(st.floats(-5, 5), min_size=12, max_size=12),
    st.floats(-5, 5),
    st.sampled_from([0.0, 1.0, 4.0]),
)
def test_an_event_that_asks_for_more_mirrors_one_that_asks_for_less(
    used_kw: list[float], baseline_kw: float, requested_kw: float
) -> None:
    """Usage above the baseline counts as it would below it; nothing else changes."""
    occasion = Occasion(FOUR, FOUR + HOUR, FOUR - HOUR)
    people = participants(a=requested_kw).with_columns(requested_kwh=pl.lit(requested_kw))
    prediction = predict(frame({"a": month_of(baseline_kw, FOUR)}), NOTHING_TAKEN, occasion, Calendar(), CAP)
    hours = counted_hours(["a"], NOTHING_TAKEN, occasion.window)
    columns = ["baseline", "delivered_kw", "delivered_kwh", "performance_percent", "coverage_percent"]
    for name in prediction.baselines:
        used = np.array([used_kw])
        mirrored = 2 * prediction.event_kw(name) - used
        less, more = (
            directed(settle_vens(kw, hours, prediction, people, occasion.window), direction)
            .filter(pl.col("baseline") == name)
            .select(columns)
            .row(0)
            for kw, direction in ((used, "reduce"), (mirrored, "increase"))
        )
        assert [None if value is None else pytest.approx(value, abs=1e-6) for value in less[1:]] == list(
            more[1:]
        )
        assert more[1] == pytest.approx(
            sum(mirrored[0]) / 12 - sum(prediction.event_kw(name)[0]) / 12, abs=1e-6
        )


# Against the loops


@st.composite
def situations(draw: st.DrawFn) -> tuple[dict[str, History], dict[str, list[TimeRange]], Occasion, Calendar]:
    zone = draw(st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]))
    start = draw(
        st.sampled_from(
            [
                datetime(2024, 3, 31, 2, 30, tzinfo=UTC),  # Berlin has no 02:30 that night
                datetime(2024, 10, 27, 0, 40, tzinfo=UTC),  # and shows 02:40 twice
                datetime(2024, 11, 3, 5, 30, tzinfo=UTC),  # so does New York, with 01:30
                datetime(2024, 7, 10, 16, tzinfo=UTC),
                datetime(2024, 7, 13, 21, 57, 13, tzinfo=UTC),  # over midnight, cutting slots
                datetime(2024, 4, 15, 22, 15, tzinfo=UTC),
            ]
        )
    )
    length = draw(st.sampled_from([timedelta(minutes=4), 2 * HOUR, HOUR + timedelta(minutes=37, seconds=5)]))
    notified_at = start - draw(st.sampled_from([timedelta(0), timedelta(minutes=30), 2 * HOUR, 20 * HOUR]))
    occasion = Occasion(start, start + length, notified_at)
    today = start.astimezone(ZoneInfo(zone)).date()
    holidays = draw(st.frozensets(st.integers(0, 20).map(lambda back: today - back * DAY), max_size=4))
    calendar = Calendar(zone, holidays, look_back_days=draw(st.sampled_from([5, 16, 30])))
    chance = random.Random(draw(st.integers(0, 2**32)))
    gap = draw(st.sampled_from([0.0, 0.1, 0.3]))
    # Nothing but what is said to be needed: what is looked at beyond that would be missing.
    histories, taken = {}, {}
    for ven_id in draw(st.sampled_from([["a"], ["a", "b"]])):
        level = chance.choice([2.0, -1.0, 0.5])
        histories[ven_id] = {
            slot: level + chance.gauss(0, 1)
            for window in days_of(occasion, calendar, GENERIC).needed()
            for slot, _ in pieces(window.start, window.end)
            if chance.random() >= gap
        }
        starts = [start - chance.randint(0, 20) * DAY - chance.randint(3, 30) * HOUR for _ in range(2)]
        taken[ven_id] = [TimeRange(at, at + HOUR) for at in starts]
    return histories, taken, occasion, calendar


@costly(2)
@given(situations())
def test_baselines_are_what_the_loop_says(
    situation: tuple[dict[str, History], dict[str, list[TimeRange]], Occasion, Calendar],
) -> None:
    histories, taken, occasion, calendar = situation
    people = participants(**dict.fromkeys(histories, 1.5))
    prediction = predict(frame(histories), taken_frame(taken), occasion, calendar, CAP)
    vens, _ = settled(histories, occasion, people, calendar, taken_frame(taken))
    alone = {name: one_alone(name, histories, taken, occasion, calendar) for name in GENERIC}
    for ven_id, history in histories.items():
        loop = Loop(history, taken[ven_id], occasion, calendar)
        assert similar_days(occasion, calendar) == loop.similar()
        for name in GENERIC:
            said = prediction.event.filter(ven_id=ven_id, baseline=name)
            expected = loop.baseline(name)
            assert dict(said.select("slot", "baseline_kw").iter_rows()) == pytest.approx(expected)
            row = one(vens, ven_id=ven_id, baseline=name)
            assert row["rrmse_percent"] == pytest.approx(loop.rrmse(name))
            own = alone[name].filter(ven_id=ven_id)
            assert dict(own.select("slot", "baseline_kw").iter_rows()) == pytest.approx(expected)
            assert_delivered(row, history, expected, loop.event)


def one_alone(
    name: BaselineName,
    histories: dict[str, History],
    taken: dict[str, list[TimeRange]],
    occasion: Occasion,
    calendar: Calendar,
) -> pl.DataFrame:
    """From only the data that this baseline declares."""
    ranges = days_of(occasion, calendar, [name]).needed()
    in_any = [pl.col("slot").is_between(part.start, part.end, closed="left") for part in ranges]
    history = frame(histories).filter(pl.any_horizontal(in_any))
    return predict(history, taken_frame(taken), occasion, calendar, CAP, only=name).event


def assert_delivered(
    row: dict[str, Any],
    history: History,
    baseline: dict[datetime, float],
    event: list[tuple[datetime, float]],
) -> None:
    total_s = sum(seconds for _, seconds in event)
    both = [
        (baseline[slot], history[slot], seconds)
        for slot, seconds in event
        if slot in history and slot in baseline
    ]
    covered_s = sum(seconds for *_, seconds in both)
    assert row["coverage_percent"] == pytest.approx(100 * covered_s / total_s)
    if not both:
        assert row["delivered_kw"] is None
        assert row["performance_percent"] is None
        return
    assert row["baseline_kw"] == pytest.approx(sum(base * s for base, _, s in both) / total_s)
    assert row["actual_kw"] == pytest.approx(sum(kw * s for _, kw, s in both) / total_s)
    kwh = sum((base - kw) * seconds / 3600 for base, kw, seconds in both)
    assert row["delivered_kwh"] == pytest.approx(kwh, abs=1e-9)
    assert row["delivered_kw"] * total_s / 3600 == pytest.approx(row["delivered_kwh"], abs=1e-9)
    assert row["baseline_kw"] - row["actual_kw"] == pytest.approx(row["delivered_kw"], abs=1e-9)
    assert row["performance_percent"] == pytest.approx(100 * row["delivered_kw"] / 1.5, abs=1e-6)


def test_a_power_is_never_added_up_over_time() -> None:
    """2 kW less for one hour and for four: the power stays, the energy grows."""
    for hours in (1, 4):
        end = FOUR + hours * HOUR
        shed = month_of(3.0) | steady(1.0, FOUR, end)
        vens, portfolio = settled({"a": shed, "b": shed}, Occasion(FOUR, end, FOUR), participants(a=2, b=2))
        ven = one(vens, ven_id="a", baseline="10-of-10")
        assert ven["delivered_kw"] == pytest.approx(2.0)
        assert ven["delivered_kwh"] == pytest.approx(2.0 * hours)
        everybody = one(portfolio, baseline="10-of-10")
        assert everybody["baseline_kw"] == pytest.approx(6.0)
        assert everybody["delivered_kw"] == pytest.approx(4.0)
        assert everybody["delivered_kwh"] == pytest.approx(4.0 * hours)
        assert everybody["performance_percent"] == pytest.approx(100)


def test_the_reporting_rate_changes_nothing_and_gaps_lower_only_the_coverage() -> None:
    occasion = Occasion(FOUR, FOUR + HOUR, FOUR)
    half = month_of(3.0) | steady(1.0, FOUR, FOUR + HOUR)
    for slot, _ in pieces(FOUR, FOUR + HOUR / 2):
        del half[slot]
    vens, _ = settled({"a": half}, occasion, participants(a=2))
    row = one(vens, ven_id="a", baseline="10-of-10")
    assert row["delivered_kw"] == pytest.approx(1.0)
    assert row["delivered_kwh"] == pytest.approx(1.0)
    assert row["coverage_percent"] == pytest.approx(50)
    assert row["note"] == "only 50 % of the event's time is covered"


def test_the_highest_five_of_the_last_ten() -> None:
    """Working days before the event use 1, 2, 3, ... kW, the latest the least; the eleventh is too old."""
    history, days, today = steady(5, FOUR - 5 * HOUR, FOUR + 4 * HOUR), count(1), FOUR.date()
    for back in range(1, 20):
        if (today - back * DAY).weekday() < 5:
            history |= steady(next(days), FOUR - back * DAY, FOUR - back * DAY + HOUR)
    vens, _ = settled({"a": history}, Occasion(FOUR, FOUR + HOUR, FOUR), participants(a=1))
    row = one(vens, ven_id="a", baseline="high-5-of-10")
    assert row["baseline_kw"] == pytest.approx((10 + 9 + 8 + 7 + 6) / 5)
    assert row["days_used"] == 5
    assert row["note"] is None
    assert one(vens, ven_id="a", baseline="10-of-10")["baseline_kw"] == pytest.approx(5.5)
    adjusted = one(vens, ven_id="a", baseline="high-5-of-10-adjusted")
    assert adjusted["baseline_kw"] == pytest.approx(8)
    assert adjusted["note"] == "not adjusted: too little to compare with"


@pytest.mark.parametrize(("before_kw", "factor"), [(2.2, 1.1), (1.8, 0.9), (9.0, 1.2), (0.1, 0.8)])
def test_the_adjustment_is_capped(before_kw: float, factor: float) -> None:
    history = month_of(2.0) | steady(before_kw, FOUR - 4 * HOUR, FOUR - HOUR)
    vens, _ = settled({"a": history}, Occasion(FOUR, FOUR + HOUR, FOUR), participants(a=1))
    adjusted = one(vens, ven_id="a", baseline="10-of-10-adjusted")
    assert adjusted["baseline_kw"] == pytest.approx(2.0 * factor)
    assert one(vens, ven_id="a", baseline="10-of-10")["baseline_kw"] == pytest.approx(2.0)


def test_using_more_after_the_notification_raises_no_baseline() -> None:
    known_at = FOUR - 3 * HOUR
    history = month_of(2.0) | steady(2.4, known_at, FOUR)
    vens, _ = settled({"a": history}, Occasion(FOUR, FOUR + HOUR, known_at), participants(a=1))
    assert one(vens, ven_id="a", baseline="10-of-10-adjusted")["baseline_kw"] == pytest.approx(2.0)
    vens, _ = settled({"a": history}, Occasion(FOUR, FOUR + HOUR, FOUR), participants(a=1))
    assert one(vens, ven_id="a", baseline="10-of-10-adjusted")["baseline_kw"] > 2.0


@pytest.mark.parametrize(
    ("event_kw", "usual_kw", "today_kw", "kind", "baseline_kw"),
    [
        (-2.0, -2.0, -1.0, "additive", -1.6),  # by a fifth of the event's load at most
        (-3.0, -3.0, -3.1, "additive", -3.1),
        (-3.0, 1.0, 2.0, "none", -3.0),  # times 1.2 it was charged 0.6 kW for nothing
        (3.0, -1.0, -2.0, "none", 3.0),
        (3.0, 0.1, 0.3, "additive", 3.2),  # near zero a ratio is noise
        (3.0, 2.0, 2.2, "multiplicative", 3.3),
    ],
)
def test_the_adjustment_is_chosen_by_sign_and_size(
    event_kw: float, usual_kw: float, today_kw: float, kind: str, baseline_kw: float
) -> None:
    """A home that exports 3 kW every evening was charged 0.6 kW, or credited with it, for a cloud at noon."""
    history = month_of(usual_kw)
    for back in range(30):
        history |= steady(event_kw, FOUR - back * DAY, FOUR - back * DAY + HOUR)
    history |= steady(today_kw, FOUR - 4 * HOUR, FOUR - HOUR)
    vens, portfolio = settled({"a": history}, Occasion(FOUR, FOUR + HOUR, FOUR), participants(a=1))
    row = one(vens, ven_id="a", baseline="10-of-10-adjusted")
    assert row["baseline_kw"] == pytest.approx(baseline_kw)
    assert (row["adjustment"], row["note"]) == (kind, None)
    assert row["adjustment_kw"] == pytest.approx(baseline_kw - event_kw)
    assert row["adjustment_reason"]
    everybody = one(portfolio, baseline="10-of-10-adjusted")
    assert (everybody["adjustment"], everybody["adjustment_reason"]) == (kind, f"{kind} for 1 VENs")
    assert one(vens, ven_id="a", baseline="10-of-10")["baseline_kw"] == pytest.approx(event_kw)


def test_three_hours_before_and_two_after_leave_out_an_hour_each() -> None:
    end = FOUR + 2 * HOUR
    history = steady(3, FOUR - 4 * HOUR, FOUR - HOUR) | steady(9, FOUR - HOUR, end + HOUR)
    history |= steady(8, end + HOUR, end + 3 * HOUR)
    vens, _ = settled({"a": history}, Occasion(FOUR, end, FOUR), participants(a=1))
    row = one(vens, ven_id="a", baseline="same-day-3+2")
    assert row["baseline_kw"] == pytest.approx((3 * 3 + 2 * 8) / 5)


def test_the_fall_back_says_so() -> None:
    """Two days of history, and nothing after the event yet."""
    history = steady(4, FOUR - 2 * DAY, FOUR) | steady(1, FOUR, FOUR + HOUR)
    vens, portfolio = settled({"a": history}, Occasion(FOUR, FOUR + HOUR, FOUR), participants(a=3))
    notes = {row["baseline"]: row["note"] for row in vens.to_dicts()}
    short = "2 similar days, fewer than 5: the hour before the event stands in"
    assert notes == {
        "10-of-10": short,
        "10-of-10-adjusted": short,
        "high-5-of-10": short,
        "high-5-of-10-adjusted": short,
        "same-day-3+2": "too few samples in the hours around the event: the hour before the event stands in",
        "last-samples": "the hour before the event, which is no more than a fall-back",
    }
    assert set(vens.get_column("delivered_kw")) == {3.0}
    assert set(vens.get_column("days_used")) == {0}
    everybody = one(portfolio, baseline="10-of-10")
    assert everybody["note"] == "for 1 of 1 VENs the hour before the event stands in"
    assert everybody["performance_percent"] == pytest.approx(100)


def test_days_with_events_and_holidays_and_the_other_kind_are_skipped() -> None:
    """Of fourteen days before a Wednesday ten are weekdays; one has an event, one is a holiday."""
    history = month_of(2.0)
    event, holiday = FOUR - DAY, (FOUR - 2 * DAY).date()
    for odd in (FOUR - DAY, FOUR - 2 * DAY, FOUR - 4 * DAY):
        history |= steady(100.0, odd - 5 * HOUR, odd + 5 * HOUR)
    calendar = Calendar("UTC", frozenset({holiday}), look_back_days=14)
    taken = taken_frame({"a": [TimeRange(event - 3 * HOUR, event - 2 * HOUR)], "b": []})
    vens, _ = settled(
        {"a": history, "b": history},
        Occasion(FOUR, FOUR + HOUR, FOUR),
        participants(a=1, b=1),
        calendar,
        taken,
    )
    own = one(vens, ven_id="a", baseline="10-of-10")
    assert own["baseline_kw"] == pytest.approx(2.0)
    assert own["days_used"] == 8
    # The other VEN took no part in that event: the day is one of its own.
    other = one(vens, ven_id="b", baseline="10-of-10")
    assert other["days_used"] == 9
    assert other["baseline_kw"] == pytest.approx((8 * 2 + 100) / 9)


def test_an_event_on_a_holiday_is_compared_with_weekends() -> None:
    calendar = Calendar("UTC", frozenset({FOUR.date()}), look_back_days=14)
    assert similar_days(Occasion(FOUR, FOUR + HOUR, FOUR), calendar) == [3, 4, 10, 11]


def test_the_local_day_decides() -> None:
    """Sunday evening in New York is Monday in UTC."""
    sunday = datetime(2024, 7, 15, 1, tzinfo=UTC)
    occasion = Occasion(sunday, sunday + HOUR, sunday)
    assert similar_days(occasion, Calendar("UTC", look_back_days=3)) == [3]
    assert similar_days(occasion, Calendar("America/New_York", look_back_days=3)) == [1]


def test_the_same_hour_of_the_clock_after_a_change() -> None:
    """At 18:00 in Berlin 5 kW, and 1 kW else: an hour earlier in UTC since the change of clocks."""
    zone = ZoneInfo("Europe/Berlin")
    tuesday = datetime(2024, 4, 2, 18, tzinfo=zone).astimezone(UTC)
    history = steady(1.0, tuesday - 40 * DAY, tuesday + 6 * HOUR)
    for back in range(40):
        evening = datetime.combine(date(2024, 4, 2) - back * DAY, time(18), zone).astimezone(UTC)
        history |= steady(5.0, evening, evening + HOUR)
    vens, _ = settled(
        {"a": history},
        Occasion(tuesday, tuesday + HOUR, tuesday),
        participants(a=1),
        Calendar("Europe/Berlin"),
    )
    assert one(vens, ven_id="a", baseline="10-of-10")["baseline_kw"] == pytest.approx(5.0)


def test_over_midnight_the_second_day_follows_the_first() -> None:
    """From 23:30 to 00:30: 1 kW in the evenings, 3 kW in the first half hours of days."""
    start = datetime(2024, 7, 10, 23, 30, tzinfo=UTC)
    history = month_of(1.0, start + 8 * HOUR)
    history |= {slot: 3.0 for slot in history if slot.time() < time(0, 30)}
    vens, _ = settled({"a": history}, Occasion(start, start + HOUR, start), participants(a=1))
    row = one(vens, ven_id="a", baseline="10-of-10")
    assert row["baseline_kw"] == pytest.approx(2.0)
    assert row["delivered_kw"] == pytest.approx(0.0)
    assert row["rrmse_percent"] == pytest.approx(0.0)


def test_a_ven_without_history_and_one_that_appears_amid_the_event() -> None:
    newcomer = steady(1.0, FOUR + HOUR / 2, FOUR + HOUR)
    known = month_of(3.0) | steady(1.0, FOUR, FOUR + HOUR)
    vens, portfolio = settled(
        {"new": newcomer, "old": known}, Occasion(FOUR, FOUR + HOUR, FOUR), participants(new=2, old=2, none=2)
    )
    new, none = (one(vens, ven_id=ven_id, baseline="10-of-10") for ven_id in ("new", "none"))
    assert (new["delivered_kw"], new["coverage_percent"]) == (None, 0)
    assert new["note"] == "no samples to make a baseline of"
    assert (none["delivered_kw"], none["coverage_percent"]) == (None, 0)
    assert none["note"] == "no samples during the event"
    everybody = one(portfolio, baseline="10-of-10")
    assert everybody["delivered_kw"] == pytest.approx(2.0)
    assert everybody["performance_percent"] == pytest.approx(100 * 2 / 6)
    assert everybody["coverage_percent"] == pytest.approx(100 / 3)
    assert everybody["note"] == ("2 of 3 VENs cannot be measured; only 33 % of the event's time is covered")
    assert everybody["days_used"] == 10


def test_who_opted_out_is_measured_and_not_counted() -> None:
    shed = month_of(3.0) | steady(1.0, FOUR, FOUR + HOUR)
    people = participants(a=2, b=2).with_columns(has_opted_out=pl.col("ven_id") == "b")
    vens, portfolio = settled({"a": shed, "b": shed}, Occasion(FOUR, FOUR + HOUR, FOUR), people)
    row = one(vens, ven_id="b", baseline="10-of-10")
    assert (row["delivered_kw"], row["note"]) == (pytest.approx(2.0), "opted out before the start")
    assert one(portfolio, baseline="10-of-10")["delivered_kw"] == pytest.approx(2.0)


def test_of_nothing_there_is_no_percentage() -> None:
    vens, portfolio = settled({"a": month_of(3.0)}, Occasion(FOUR, FOUR + HOUR, FOUR), participants(a=0))
    assert one(vens, ven_id="a", baseline="10-of-10")["performance_percent"] is None
    assert one(portfolio, baseline="10-of-10")["performance_percent"] is None


def test_nobody_took_part() -> None:
    vens, portfolio = settled({}, Occasion(FOUR, FOUR + HOUR, FOUR), participants())
    assert vens.is_empty()
    assert portfolio.get_column("baseline").to_list() == sorted(GENERIC)
    assert portfolio.get_column("delivered_kw").to_list() == [0.0] * len(GENERIC)


def test_errors_of_vens_make_up_for_one_another() -> None:
    """One uses 1 and 3 kW on alternate days, the other 3 and 1: each is hard to predict, both are not."""
    start, odd, even = FOUR - 30 * DAY, dict[datetime, float](), dict[datetime, float]()
    for slot, _ in pieces(start, FOUR + 4 * HOUR):
        odd[slot] = 1.0 + 2.0 * (slot.date().toordinal() % 2)
        even[slot] = 4.0 - odd[slot]
    vens, portfolio = settled(
        {"a": odd, "b": even}, Occasion(FOUR, FOUR + HOUR, FOUR), participants(a=1, b=1)
    )
    assert one(vens, ven_id="a", baseline="10-of-10")["rrmse_percent"] > 40
    assert one(portfolio, baseline="10-of-10")["rrmse_percent"] == pytest.approx(0, abs=1e-9)


# Slots that the event's edges cut


def test_cuts() -> None:
    minute = timedelta(minutes=1)
    assert cuts(TimeRange(FOUR, FOUR + HOUR)) == []
    assert cuts(TimeRange(FOUR + minute, FOUR + HOUR)) == [TimeRange(FOUR + minute, FOUR + SLOT)]
    assert cuts(TimeRange(FOUR, FOUR + HOUR + minute)) == [TimeRange(FOUR + HOUR, FOUR + HOUR + minute)]
    within = TimeRange(FOUR + minute, FOUR + 3 * minute)
    assert cuts(within) == [within]
    assert cuts(TimeRange(FOUR + minute, FOUR + SLOT)) == [TimeRange(FOUR + minute, FOUR + SLOT)]
    across = TimeRange(FOUR + minute, FOUR + SLOT + minute)
    assert cuts(across) == [
        TimeRange(FOUR + minute, FOUR + SLOT),
        TimeRange(FOUR + SLOT, FOUR + SLOT + minute),
    ]


def test_a_cut_slot_counts_the_samples_within() -> None:
    """4 kW until a minute into the slot, 1 kW from then on: the slot's mean, 1.6, is not the event's."""
    minute = timedelta(minutes=1)
    window = TimeRange(FOUR + minute, FOUR + 2 * SLOT)
    samples = pl.DataFrame(
        [{"ven_id": "a", "ts": FOUR + n * minute, "used_kw": 1.0 if n else 4.0} for n in range(5)],
        schema=SAMPLES,
    )
    usage = usage_of(frame({"a": {FOUR: 1.6, FOUR + SLOT: 1.0}}))
    assert event_usage(usage, samples, window, cuts(window)).tolist() == [[1.0, 1.0]]
    assert event_usage(usage, samples, window, []).tolist() == [[1.6, 1.0]]
    hours = counted_hours(["a"], NOTHING_TAKEN, window)
    assert hours.tolist() == [pytest.approx([4 / 60, 5 / 60])]


def test_a_cut_slot_without_samples_within_has_none() -> None:
    """The VEN reported in that slot, but before the event."""
    window = TimeRange(FOUR + timedelta(minutes=1), FOUR + SLOT)
    samples = pl.DataFrame([{"ven_id": "a", "ts": FOUR, "used_kw": 4.0}], schema=SAMPLES)
    usage = usage_of(frame({"a": {FOUR: 4.0}}))
    assert np.isnan(event_usage(usage, samples, window, cuts(window))).all()


# What is another settlement


def test_settlements_differ_beyond_rounding_only() -> None:
    vens, _ = settled({"a": month_of(3.0)}, Occasion(FOUR, FOUR + HOUR, FOUR), participants(a=1))
    keys = ["ven_id", "baseline"]

    def nudged(by: float) -> pl.DataFrame:
        return vens.with_columns(pl.col("delivered_kw") + by)

    assert not differ(vens, vens, keys)
    assert not differ(vens, nudged(0.0004), keys)
    assert differ(vens, nudged(0.001), keys)
    assert differ(vens, vens.with_columns(delivered_kw=pl.lit(None, pl.Float64)), keys)
    assert differ(vens, vens.with_columns(ven_id=pl.lit("b")), keys)
