"""ISO 8601 durations, and when events of OpenADR begin and end."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.openadr import EventRequest
from schemas.times.durations import parse_duration
from serving.errors import InvalidRequestError
from serving.openadr.event_times import event_end, event_start, require_times, timed_intervals

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("PT0S", NOON),
        ("PT1H30M", datetime(2026, 1, 31, 13, 30, tzinfo=UTC)),
        ("PT0.5S", NOON + timedelta(seconds=0.5)),
        ("P1W", datetime(2026, 2, 7, 12, tzinfo=UTC)),
        ("P1M", datetime(2026, 2, 28, 12, tzinfo=UTC)),
        ("P1Y1MT1H", datetime(2027, 2, 28, 13, tzinfo=UTC)),
        ("P25M", datetime(2028, 2, 29, 12, tzinfo=UTC)),
        ("-P1M", datetime(2025, 12, 31, 12, tzinfo=UTC)),
        ("-PT1H", datetime(2026, 1, 31, 11, tzinfo=UTC)),
        ("P9999Y", None),
        ("P7973Y", None),
        ("P99999999999D", None),
        ("-P9999Y", None),
    ],
)
def test_durations(text: str, end: datetime | None) -> None:
    assert parse_duration(text).after(NOON) == end


@pytest.mark.parametrize("text", ["", "P", "PT", "1H", "PT1H\n", "P1H", "P-1D", "PT1.5H", "p1d"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="ISO 8601"):
        parse_duration(text)


@given(days=st.integers(0, 9_999), seconds=st.integers(0, 10**7))
def test_days_and_seconds_add_up(days: int, seconds: int) -> None:
    assert parse_duration(f"P{days}DT{seconds}S").after(NOON) == NOON + timedelta(days=days, seconds=seconds)


def event(**fields: Any) -> EventRequest:
    return msgspec.convert({"programID": "p", **fields}, EventRequest)


def interval(**period: str) -> dict[str, Any]:
    return {"id": 0, "payloads": [], **({"intervalPeriod": period} if period else {})}


HOUR = {"start": "2026-02-01T00:00:00Z", "duration": "PT1H"}


def hours(*each: float) -> list[datetime]:
    return [datetime(2026, 2, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in each]


def test_intervals_follow_each_other_unless_they_say_otherwise() -> None:
    own = [interval(), interval(duration="PT2H"), interval(start="2026-02-01T06:00:00Z"), interval()]
    timed = list(timed_intervals(event(intervalPeriod=HOUR, intervals=own), NOON))
    assert [each.start for each in timed] == hours(0, 1, 6, 7)
    assert [each.end for each in timed] == hours(1, 3, 7, 8)


def test_the_beginning_of_time_means_at_once_or_next() -> None:
    start = {"start": "0001-01-01", "duration": "PT1H"}
    own = [interval(**start), interval(start="0001-01-01T00:00:00", duration="PT2H")]
    at_once = list(timed_intervals(event(intervals=own), NOON))
    assert [each.start for each in at_once] == [NOON, NOON + timedelta(hours=1)]
    with_event = event(intervalPeriod=HOUR, intervals=own)
    assert event_start(with_event, NOON) == hours(0)[0]
    assert event_end(with_event, NOON) == hours(3)[0]


def test_nothing_follows_what_never_ends() -> None:
    for_ever = event(intervals=[interval(start="0001-01-01", duration="P9999Y"), interval()])
    assert [each.end for each in timed_intervals(for_ever, NOON)] == [None]
    assert event_end(for_ever, NOON) is None


@pytest.mark.parametrize(
    ("fields", "end"),
    [
        ({}, None),
        ({"intervalPeriod": {"start": "2026-02-01T00:00:00Z"}}, None),
        ({"intervalPeriod": {"start": "2026-02-01T00:00:00Z"}, "intervals": [interval()]}, None),
        ({"intervalPeriod": HOUR}, hours(1)[0]),
        ({"intervalPeriod": HOUR, "intervals": [interval(), interval()]}, hours(2)[0]),
        ({"intervalPeriod": HOUR, "intervals": [interval()], "duration": "PT30M"}, hours(0.5)[0]),
        ({"intervalPeriod": HOUR, "intervals": [interval()], "duration": "P9999Y"}, None),
        ({"duration": "PT1H"}, NOON + timedelta(hours=1)),
        (
            {"intervals": [interval(start="2026-02-01T05:00:00Z", duration="PT1H"), interval(**HOUR)]},
            hours(6)[0],
        ),
    ],
)
def test_ends_of_events(fields: dict[str, Any], end: datetime | None) -> None:
    assert event_end(event(**fields), NOON) == end


def test_starts_must_be_in_the_calendar() -> None:
    with pytest.raises(InvalidRequestError, match=r"intervals\[1\]\.intervalPeriod\.start"):
        require_times(event(intervals=[interval(**HOUR), interval(start="2026-02-30")]))
