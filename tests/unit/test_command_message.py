"""A command as it is published: never worth more than what is left of its time."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.commands.message import expiry_s, payload, remaining_data
from ingest.commands.states import Due

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
seconds = st.floats(0, 1e5).map(lambda s: timedelta(seconds=s))


def shed(duration_s: float) -> Due:
    data = json.dumps({"loadId": "l", "reduceKw": 1.5, "durationS": duration_s})
    return Due("ven", "c", "shedLoad", data, "sent", 1, NOW, NOW, NOW + timedelta(seconds=duration_s))


@given(st.one_of(st.integers(1, 86_400), st.floats(0.5, 86_400)), seconds)
def test_a_duration_ends_when_it_would_have_at_first(duration_s: float, elapsed: timedelta) -> None:
    data: Any = remaining_data({"durationS": duration_s}, NOW, NOW + elapsed)
    left_s = duration_s - elapsed.total_seconds()
    assert data["durationS"] > 0
    assert data["durationS"] <= max(left_s + 1, 1)
    assert data["durationS"] >= min(left_s - 0.001, duration_s)
    assert type(data["durationS"]) is type(duration_s)


@pytest.mark.parametrize(
    ("at_s", "expected_s"), [(-60, 600), (0, 600), (0.2, 600), (1, 599), (590, 10), (599.5, 1), (700, 1)]
)
def test_an_event_ends_when_it_ends(at_s: float, expected_s: int) -> None:
    """Also one that is sent ahead of its start; `durationS` of a shed counts from its command."""
    start = NOW.timestamp()
    data = {"start_ts": start, "end_ts": start + 600, "duration_s": 600, "event_id": "e"}
    now = NOW + timedelta(seconds=at_s)
    assert remaining_data(data, NOW - timedelta(hours=1), now) == {**data, "duration_s": expected_s}


@pytest.mark.parametrize("value", [None, "60", True, [1]])
def test_what_is_no_duration_stays(value: Any) -> None:
    assert remaining_data({"durationS": value, "x": 1}, NOW, NOW) == {"durationS": value, "x": 1}


def test_a_command_made_ahead_of_the_clock_lasts_no_longer() -> None:
    assert remaining_data({"durationS": 60}, NOW + timedelta(seconds=5), NOW) == {"durationS": 60}


@pytest.mark.parametrize(
    ("left_s", "expected_s"), [(60, 60), (59.9, 59), (1, 1), (0.2, 1), (86_400.5, 86_400)]
)
def test_the_expiry_is_what_is_left(left_s: float, expected_s: int) -> None:
    """0 would be no expiry at all for mosquitto."""
    assert expiry_s(shed(100_000), NOW + timedelta(seconds=100_000 - left_s)) == expected_s


def test_the_envelope() -> None:
    at = NOW + timedelta(seconds=22.5)
    assert json.loads(payload(shed(60), at)) == {
        "op": "shedLoad",
        "correlationId": "c",
        "venId": "ven",
        "issued_ts": NOW.timestamp() + 22.5,
        "expires_ts": NOW.timestamp() + 60,
        "data": {"loadId": "l", "reduceKw": 1.5, "durationS": 38},
    }
