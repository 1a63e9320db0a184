"""Days matched by temperature: which days count, and what happens where temperatures are missing."""

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.baseline_model.choosing import chosen_days
from schemas.baseline_model.days import Calendar, Occasion
from schemas.baseline_model.prediction import Prediction, days_of, predict
from schemas.baseline_model.temperatures import daily_maxima
from schemas.demand_response.baselines import METHODS, BaselineName, DayRule
from tests.unit.test_baselines import CAP, DAY, FOUR, HOUR, NOTHING_TAKEN, History, frame, steady

NAME: BaselineName = "caiso-weather-4-of-90"
EVENT = Occasion(FOUR, FOUR + HOUR, FOUR)
DEGREES: dict[str, Any] = {"ts": pl.Datetime("us", "UTC"), "temperature_c": pl.Float64}


def weekdays(count: int) -> list[int]:
    """The latest weekdays before the event, as days before it."""
    return [back for back in range(1, 91) if (FOUR - back * DAY).weekday() < 5][:count]


def hot(maxima: dict[int, float], hours: int = 24) -> pl.DataFrame:
    """Temperatures of days before the event by the hour, whose maximum is at 15:00."""
    midnight = FOUR.replace(hour=0, minute=0)
    rows = [
        (midnight - back * DAY + hour * HOUR, highest - abs(hour - 15))
        for back, highest in maxima.items()
        for hour in range(24 - hours, 24)
    ]
    return pl.DataFrame(rows, DEGREES, orient="row")


def used(kw: dict[int, float]) -> History:
    history: History = {}
    for back, power_kw in kw.items():
        history |= steady(power_kw, FOUR - back * DAY, FOUR - back * DAY + HOUR)
    return history


def predicted(history: History, temperatures: pl.DataFrame | None, only: BaselineName = NAME) -> Prediction:
    return predict(
        frame({"a": history}), NOTHING_TAKEN, EVENT, Calendar(), CAP, only=only, temperatures=temperatures
    )


def test_days_of_the_nearest_maximum_count() -> None:
    """Homes cool with 0.1 kW a degree: days as hot as the event's predict usage, the last ten do not."""
    maxima = {back: 20.0 + number % 20 for number, back in enumerate(weekdays(60))}
    history = used({back: 1 + 0.1 * (degrees - 20) for back, degrees in maxima.items()})
    today = 33.2
    prediction = predicted(history, hot(maxima | {0: today}))
    near = sorted(maxima, key=lambda back: (abs(maxima[back] - today), back))[:4]
    expected = np.mean([1 + 0.1 * (maxima[back] - 20) for back in near])
    assert prediction.event_kw(NAME) == pytest.approx(np.full((1, 12), expected))
    assert expected == pytest.approx(1 + 0.1 * (today - 20), abs=0.1)
    [other] = predicted(history, None, "10-of-10").event_kw("10-of-10")
    assert abs(other[0] - expected) > 0.5
    assert prediction.method.row(0, named=True)["days_used"] == 4


def test_of_days_as_hot_the_later_ones_count() -> None:
    days = weekdays(8)
    history = used({back: float(back) for back in days})
    prediction = predicted(history, hot(dict.fromkeys([0, *days], 30.0)))
    assert prediction.event_kw(NAME)[0, 0] == pytest.approx(np.mean(days[:4]))


def note(prediction: Prediction) -> str:
    return str(prediction.method.row(0, named=True)["note"])


def test_missing_temperatures_are_noted_and_the_hour_before_stands_in() -> None:
    days = weekdays(20)
    history = used(dict.fromkeys(days, 3.0)) | steady(2.0, FOUR - HOUR, FOUR)
    degrees = dict.fromkeys(days, 30.0)
    stands_in = "the hour before the event stands in"
    for temperatures in (None, hot(degrees), hot(degrees | {0: 30.0}, hours=19)):
        prediction = predicted(history, temperatures)
        assert prediction.event_kw(NAME) == pytest.approx(np.full((1, 12), 2.0))
        assert note(prediction) == f"too few temperatures of the event's day: {stands_in}"
    few = predicted(history, hot(dict.fromkeys([0, *days[:3]], 30.0)))
    assert note(few) == f"3 similar days with temperatures, fewer than 4: {stands_in}"
    assert note(predicted(history, hot(degrees | {0: 30.0}, hours=20))).startswith("not adjusted")


def test_a_day_without_temperatures_is_no_candidate() -> None:
    days = weekdays(12)
    history = used({back: 3.0 if back in days[::2] else 50.0 for back in days})
    prediction = predicted(history, hot(dict.fromkeys([0, *days[::2]], 30.0)))
    assert prediction.event_kw(NAME)[0, 0] == pytest.approx(3.0)


def test_a_day_is_that_of_the_local_clock() -> None:
    """23 hours in Berlin, of which the last of the evening is the hottest; UTC has it on the next day."""
    zone = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 3, 29, 18, tzinfo=zone)
    occasion = Occasion(start, start + HOUR, start)
    days = days_of(occasion, Calendar("Europe/Berlin"), [NAME])
    ts = pl.datetime_range(
        datetime(2026, 3, 29, tzinfo=zone), datetime(2026, 3, 29, 23, tzinfo=zone), "1h", eager=True
    ).dt.convert_time_zone("UTC")
    assert len(ts) == 23
    rows = pl.DataFrame({"region": ["r"] * 23, "ts": ts, "temperature_c": [float(n) for n in range(23)]})
    regions = pl.DataFrame({"ven_id": ["a"], "region": ["r"]})
    assert daily_maxima(["a", "b"], regions, rows, days)[:, 0] == pytest.approx([22.0, np.nan], nan_ok=True)


@given(
    st.lists(st.tuples(st.booleans(), st.one_of(st.none(), st.integers(-3, 3))), min_size=1, max_size=12),
    st.one_of(st.none(), st.integers(-3, 3)),
)
def test_chosen_days_are_those_that_a_loop_chooses(
    days: list[tuple[bool, int | None]], today: int | None
) -> None:
    """For the event, and for each day from the others."""
    eligible = np.array([[is_eligible for is_eligible, _ in days]])
    degrees = [today, *(degree for _, degree in days)]
    known = np.array([np.nan if degree is None else degree for degree in degrees])
    targets = len(days) + 1
    distance = np.abs(known[None, :, None] - known[None, None, 1:])
    chosen = chosen_days(eligible, np.zeros((1, len(days))), DayRule(2, 90, 2), targets, distance)
    for target in range(targets):
        own = degrees[target]
        candidates = [
            (abs(degree - own), place)
            for place, (is_eligible, degree) in enumerate(days)
            if is_eligible and degree is not None and own is not None and place != target - 1
        ]
        expected = {place for _, place in sorted(candidates)[:2]} if len(candidates) >= 2 else set()
        assert set(np.flatnonzero(chosen[0, target])) == expected


def test_the_rule_is_listed() -> None:
    method = METHODS[NAME]
    assert (method.chosen_by, method.look_back_days, method.source_read) == ("temperature", 90, False)
