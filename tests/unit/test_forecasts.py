"""The pure part of the forecast: similar days, levels, quantiles, gaps, the total."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.transforms.summaries.forecasts import forecast
from schemas.baseline_model.days import Calendar
from schemas.tables.forecasts import FEWEST_DAYS, HALF_HOUR, TOTAL, LoadTypeForecastFrame

MONDAY = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
COLUMNS = ("used_p10_kw", "used_p50_kw", "used_p90_kw")
SCHEMA: dict[str, Any] = {
    "load_type": pl.String,
    "half_hour": pl.Datetime("us", "UTC"),
    "used_kw": pl.Float64,
    "used_loads": pl.Int64,
    "shed_kw": pl.Float64,
    "shed_loads": pl.Int64,
}
Row = tuple[str, datetime, float, int, float, int]


def row(load_type: str, at: datetime, kw: float, loads: int = 1) -> Row:
    return (load_type, at, kw, loads, max(kw, 0.0), loads)


def made(
    rows: list[Row], origin: datetime, present: dict[str, int], calendar: Calendar | None = None
) -> pl.DataFrame:
    now = pl.DataFrame(
        [(name, loads, loads) for name, loads in present.items()],
        schema={"load_type": pl.String, "used_loads": pl.Int64, "shed_loads": pl.Int64},
        orient="row",
    )
    history = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    found = forecast(history, now, origin, calendar or Calendar())
    return LoadTypeForecastFrame.checked(found.select(list(LoadTypeForecastFrame.types())))


def at(found: pl.DataFrame, load_type: str, half_hour: datetime) -> dict[str, float | int | None]:
    rows = found.filter(pl.col("load_type") == load_type, pl.col("half_hour") == half_hour)
    return rows.row(0, named=True)


def test_quantiles_are_those_of_hazen_by_hand() -> None:
    """Ten Sundays and Saturdays with 1 to 10 kW; only the first has no level, as nothing is before it."""
    days = [MONDAY + number * DAY for number in range(40) if (MONDAY + number * DAY).weekday() >= 5][:10]
    rows = [row("ev", day, 5.0) for day in days]
    found = at(made(rows, days[-1] + 6 * DAY, {"ev": 1}), "ev", days[-1] + 6 * DAY)
    assert [found[name] for name in COLUMNS] == pytest.approx([5.0, 5.0, 5.0])
    assert found["used_days"] == 10
    spread = [row("ev", day, kw) for day, kw in zip(days[:5], (1.0, 9.0, 5.0, 7.0, 3.0), strict=True)]
    found = at(made(spread, days[5], {"ev": 1}), "ev", days[5])
    levels = [None, *(_level(spread[:number], days[number]) for number in range(1, 6))]
    moved = sorted(
        each[2] + (0.0 if level is None else 0.7 * (levels[5] - level))  # type: ignore[operator]
        for each, level in zip(spread, levels[:5], strict=True)
    )
    assert found["used_p50_kw"] == pytest.approx(moved[2])
    assert found["used_p10_kw"] == pytest.approx(moved[0])
    assert found["used_p90_kw"] == pytest.approx(moved[4])


def _level(before: list[Row], day: datetime) -> float:
    weights = [0.5 ** ((day - each[1]).days / 5.0) for each in before]
    total = sum(weight * each[2] for weight, each in zip(weights, before, strict=True))
    return float(total / sum(weights))


def test_a_trend_is_followed_and_the_band_does_not_widen_for_it() -> None:
    """A level that grows by 1 kW a day: the median of the days alone would be two weeks behind."""
    rows = [row("ev", MONDAY + number * DAY, 100.0 + number) for number in range(26)]
    target = MONDAY + 28 * DAY
    found = at(made(rows, target, {"ev": 1}), "ev", target)
    low, median, high = (float(found[name] or 0.0) for name in COLUMNS)
    assert 118 < median < 126
    assert high - low < 0.6 * (rows[-1][2] - rows[0][2])


def test_a_weekday_is_like_weekdays_and_a_holiday_like_a_weekend() -> None:
    rows = [
        row("ev", MONDAY + number * DAY, 10.0 if (MONDAY + number * DAY).weekday() < 5 else 1.0)
        for number in range(28)
    ]
    origin = MONDAY + 28 * DAY
    assert at(made(rows, origin, {"ev": 1}), "ev", origin)["used_p50_kw"] == pytest.approx(10.0)
    holiday = Calendar(holidays=frozenset({origin.date()}))
    found = at(made(rows, origin, {"ev": 1}, holiday), "ev", origin)
    assert found["used_p50_kw"] == pytest.approx(1.0)
    assert found["used_days"] == 8


@pytest.mark.parametrize("days", [FEWEST_DAYS - 1, FEWEST_DAYS])
def test_too_few_days_make_no_forecast(days: int) -> None:
    rows = [row("ev", MONDAY + number * DAY, 2.0) for number in range(days)]
    origin = MONDAY + 7 * DAY
    found = at(made(rows, origin, {"ev": 1}), "ev", origin)
    assert found["used_days"] == days
    assert found["used_p50_kw"] == (pytest.approx(2.0) if days == FEWEST_DAYS else None)
    assert at(made(rows, origin, {"ev": 1}), "ev", origin + HALF_HOUR)["used_days"] == 0


def test_a_half_hour_with_few_loads_is_a_gap_and_more_loads_count_more() -> None:
    rows = [row("ev", MONDAY + number * DAY, 40.0, 20) for number in range(5)]
    rows += [row("ev", MONDAY + 7 * DAY, 0.9, 9), row("ev", MONDAY + 8 * DAY, 20.0, 10)]
    origin = MONDAY + 9 * DAY
    found = at(made(rows, origin, {"ev": 30}), "ev", origin)
    assert [found[name] for name in COLUMNS] == pytest.approx([60.0] * 3)
    assert found["used_days"] == 6


def test_the_total_is_of_half_hours_in_which_all_types_are_known() -> None:
    rows = [
        row(name, MONDAY + number * DAY, kw)
        for number in range(12)
        for name, kw in (("ev", 4.0), ("pv", -9.0))
    ]
    rows = [each for each in rows if each[:2] != ("pv", MONDAY + DAY)]
    rows.append(row("new", MONDAY + 11 * DAY, 100.0))
    origin = MONDAY + 14 * DAY
    found = made(rows, origin, {"ev": 1, "pv": 1, "new": 1})
    total = at(found, TOTAL, origin)
    assert [total[name] for name in COLUMNS] == pytest.approx([-5.0] * 3)
    assert total["used_days"] == 9
    assert total["shed_p50_kw"] == pytest.approx(4.0)
    assert at(found, "new", origin)["used_p50_kw"] is None


def test_quantiles_do_not_add_up() -> None:
    """Cars of one type charge when those of another do not: each varies, their total does not."""
    rows = [
        row(name, MONDAY + number * DAY, 10.0 * ((number + shift) % 2))
        for number in range(26)
        for name, shift in (("a", 0), ("b", 1))
    ]
    origin = MONDAY + 28 * DAY
    found = made(rows, origin, {"a": 1, "b": 1})
    one, total = at(found, "a", origin), at(found, TOTAL, origin)
    assert float(one["used_p90_kw"] or 0) - float(one["used_p10_kw"] or 0) > 5
    assert [total[name] for name in COLUMNS] == pytest.approx([10.0] * 3)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kathmandu", "America/St_Johns"])
@pytest.mark.parametrize("day", [date(2026, 3, 29), date(2026, 10, 25), date(2026, 3, 8), date(2026, 11, 1)])
def test_half_hours_are_compared_at_local_times(zone: str, day: date) -> None:
    """At 19:00 by the clock there is 7 kW, before and after it is set; each half hour has a forecast."""
    local = ZoneInfo(zone)
    origin = datetime(day.year, day.month, day.day, tzinfo=local).astimezone(UTC).replace(minute=0)
    half_hours = [origin - number * HALF_HOUR for number in range(1, 30 * 48)]
    rows = [row("ev", each, 7.0 if each.astimezone(local).hour == 19 else 1.0) for each in half_hours]
    found = made(rows, origin, {"ev": 1}, Calendar(zone)).filter(pl.col("load_type") == "ev")
    assert found.height == 96
    for half_hour, kw in found.select("half_hour", "used_p50_kw").iter_rows():
        assert kw == pytest.approx(7.0 if half_hour.astimezone(local).hour == 19 else 1.0), half_hour


KW = st.floats(-1e3, 1e3).map(lambda value: round(value, 3))


@given(st.lists(st.tuples(st.integers(0, 40), KW, st.integers(0, 5)), max_size=60), st.integers(0, 95))
def test_quantiles_are_in_order_and_nothing_is_made_up(
    values: list[tuple[int, float, int]], ahead: int
) -> None:
    """Of any history: P10 <= P50 <= P90, shed capability is not negative, and signs stay."""
    by_day = {number: (kw, loads) for number, kw, loads in values}
    rows = [row("ev", MONDAY + number * DAY, kw, loads) for number, (kw, loads) in by_day.items()]
    origin = MONDAY + 41 * DAY - ahead * HALF_HOUR
    before = [each for each in rows if each[1] < origin]
    found = made(before, origin, {"ev": 3}).drop_nulls("used_p50_kw")
    assert (found["used_p10_kw"] <= found["used_p50_kw"]).all()
    assert (found["used_p50_kw"] <= found["used_p90_kw"]).all()
    assert (found["used_days"] >= FEWEST_DAYS).all()
    if all(each[2] >= 0 for each in before):
        assert (found["used_p10_kw"] >= 0).all()
    if all(each[2] <= 0 for each in before):
        assert (found["used_p90_kw"] <= 0).all()


def test_without_any_history_there_are_rows_that_say_so() -> None:
    found = made([], MONDAY, {"ev": 2})
    assert found.height == 2 * 96
    assert found["used_p50_kw"].null_count() == found.height
    assert set(found["used_days"]) == {0}
