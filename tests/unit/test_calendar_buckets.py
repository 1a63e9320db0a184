"""Local days, weeks, months and years, beside a plain loop with zoneinfo."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.times.instants import EPOCH, from_microseconds, microseconds
from schemas.times.local_days import local_day, midnight_us
from serving.history.calendar import Columns, LocalBuckets, Unit, base_granularity_s, gathered, step_s

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",  # skipped midnight in spring
    "America/Havana",  # had midnight twice
    "Asia/Kolkata",  # half hours
    "Asia/Kathmandu",  # quarters
    "Pacific/Apia",  # skipped a day
    "Australia/Lord_Howe",  # moves by half an hour
    "Africa/Cairo",
)
UNITS: tuple[Unit, ...] = ("d", "w", "mo", "y")
instants = st.integers(0, 2_240_000_000).map(lambda s: s * 1_000_000)


def day_of(at_us: int, zone: str) -> date:
    return from_microseconds(at_us).astimezone(ZoneInfo(zone)).date()


def plain_key(day: date, count: int, unit: Unit) -> int:
    """Counted by hand, one unit after the other."""
    if unit == "d":
        return (day - date(1970, 1, 1)).days // count
    if unit == "w":
        monday = day - timedelta(days=day.weekday())
        return (monday - date(1970, 1, 5)).days // (7 * count)
    if unit == "mo":
        return ((day.year - 1970) * 12 + day.month - 1) // count
    return (day.year - 1970) // count


@given(instants, st.sampled_from(ZONES), st.integers(1, 9), st.sampled_from(UNITS))
def test_a_bucket_holds_the_instants_of_its_dates(at_us: int, zone: str, count: int, unit: Unit) -> None:
    start_us, end_us = LocalBuckets(count, unit, zone).bucket_us(at_us)
    assert start_us <= at_us < end_us
    key = plain_key(day_of(at_us, zone), count, unit)
    for inside in (start_us, end_us - 1):
        assert plain_key(day_of(inside, zone), count, unit) == key
    assert plain_key(day_of(end_us, zone), count, unit) > key
    if start_us > 0:
        assert plain_key(day_of(start_us - 1, zone), count, unit) < key


@settings(deadline=None)  # the first of a zone looks at all its days
@given(instants, st.sampled_from(ZONES))
def test_fixed_buckets_make_up_those_of_a_calendar(at_us: int, zone: str) -> None:
    width_us = base_granularity_s(zone, by_slots=True) * 1_000_000
    start_us, end_us = LocalBuckets(1, "d", zone).bucket_us(at_us)
    assert start_us % width_us == end_us % width_us == 0


@pytest.mark.parametrize(
    ("day", "zone", "hours"),
    [
        ("2024-03-31", "Europe/Berlin", 23),
        ("2024-10-27", "Europe/Berlin", 25),
        ("2024-07-10", "Europe/Berlin", 24),
        ("2018-11-04", "America/Sao_Paulo", 23),
        ("2018-02-17", "America/Sao_Paulo", 25),
        ("2024-11-03", "America/Havana", 25),
        ("2024-04-07", "Australia/Lord_Howe", 24.5),
        ("2024-04-26", "Africa/Cairo", 23),
    ],
)
def test_days_of_other_lengths(day: str, zone: str, hours: float) -> None:
    start_us = midnight_us(date.fromisoformat(day), zone)
    assert LocalBuckets(1, "d", zone).bucket_us(start_us) == (
        start_us,
        start_us + round(hours * 3_600_000_000),
    )


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Toronto", "Pacific/Apia", "Asia/Gaza", "UTC"])
def test_today_is_the_day_whose_bucket_an_instant_lies_in(zone: str) -> None:
    """Also where a date comes twice, or not at all."""
    calendar, at = LocalBuckets(1, "d", zone), datetime(2006, 1, 1, 0, 30, tzinfo=UTC)
    while at < datetime(2013, 1, 1, tzinfo=UTC):
        start_us, _ = calendar.bucket_us(microseconds(at))
        assert midnight_us(local_day(at, zone), zone) == start_us
        at += timedelta(hours=5)


def test_a_day_without_midnight_begins_at_one() -> None:
    start = from_microseconds(midnight_us(date(2018, 11, 4), "America/Sao_Paulo"))
    assert start == datetime(2018, 11, 4, 3, tzinfo=UTC)
    assert start.astimezone(ZoneInfo("America/Sao_Paulo")).hour == 1


def test_a_day_that_was_skipped_has_no_bucket() -> None:
    apia = LocalBuckets(1, "d", "Pacific/Apia")
    start_us, end_us = apia.bucket_us(microseconds(datetime(2011, 12, 30, 9, tzinfo=UTC)))
    assert day_of(start_us, "Pacific/Apia") == date(2011, 12, 29)
    assert day_of(end_us, "Pacific/Apia") == date(2011, 12, 31)


@pytest.mark.parametrize("zone", ["America/St_Johns", "America/Toronto", "Africa/Monrovia", "Asia/Gaza"])
def test_odd_zones_have_buckets_without_gaps(zone: str) -> None:
    """Clocks there went back over midnight, or changed at 00:01: a date began twice."""
    calendar, at_us = LocalBuckets(1, "d", zone), 0
    while at_us < microseconds(datetime(2015, 1, 1, tzinfo=UTC)):
        start_us, end_us = calendar.bucket_us(at_us)
        assert start_us <= at_us < end_us
        assert calendar.bucket_us(end_us - 1) == (start_us, end_us)
        at_us = end_us


def test_weeks_begin_on_monday_and_multiples_count_from_1970() -> None:
    def start(at: datetime, count: int, unit: Unit) -> str:
        return (
            f"{from_microseconds(LocalBuckets(count, unit, 'UTC').bucket_us(microseconds(at))[0]):%Y-%m-%d}"
        )

    at = datetime(2026, 7, 15, tzinfo=UTC)
    assert start(at, 1, "w") == "2026-07-13"
    assert [start(at, 2, "w"), start(at, 5, "mo"), start(at, 7, "y")] == [
        "2026-07-06",
        "2026-04-01",
        "2026-01-01",
    ]
    assert start(at, 3, "d") == "2026-07-15"


def test_the_steps_of_zones() -> None:
    found = {zone: step_s(zone) for zone in ("UTC", "Europe/Berlin", "Asia/Kolkata", "Asia/Kathmandu")}
    assert found == {"UTC": 3_600, "Europe/Berlin": 3_600, "Asia/Kolkata": 1_800, "Asia/Kathmandu": 900}


def test_buckets_beyond_the_calendar() -> None:
    for unit in UNITS:
        start_us, end_us = LocalBuckets(999_999_999, unit, "UTC").bucket_us(1)
        assert start_us <= 1 < end_us


@given(st.lists(st.integers(0, 20_000), unique=True).map(sorted), st.integers(1, 50))
def test_gathering_adds_up(hours: list[int], block: int) -> None:
    rows = [(EPOCH + timedelta(hours=each), 1.0, float(each)) for each in hours]
    columns = [list(zip(*rows[at : at + block], strict=True)) for at in range(0, len(rows), block)]
    blocks = [Columns(buckets, values) for buckets, *values in columns]
    expected: dict[date, list[float]] = {}
    for at, *values in rows:
        day = at.astimezone(ZoneInfo("Europe/Berlin")).date()
        expected[day] = [a + b for a, b in zip(expected.get(day, [0.0, 0.0]), values, strict=True)]
    found = [
        row
        for buckets, values in gathered(blocks, LocalBuckets(1, "d", "Europe/Berlin"))
        for row in zip(buckets, *values, strict=True)
    ]
    assert [list(row[1:]) for row in found] == list(expected.values())
    assert [row[0].astimezone(ZoneInfo("Europe/Berlin")).date() for row in found] == list(expected)
