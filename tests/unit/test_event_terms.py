"""The commands of events with intervals, a direction, limits, and spread starts and returns."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.transforms.events.event_terms import (
    CommandTerms,
    Flexibility,
    is_announced,
    return_delay,
    start_delay,
    with_terms,
)
from schemas.api.events import EventInterval
from schemas.demand_response.commands import NewCommand, new_command
from serving.errors import InvalidRequestError
from serving.events.terms import as_given, checked_intervals, requests

START = datetime(2026, 1, 15, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
END = START + HOUR
EVERYTHING = frozenset({"direction", "intervals", "importLimitKw", "exportLimitKw"})

powers = st.floats(0, 1e4)


def command(op: Any = "event", now: datetime = START, kw: float = 2.0) -> NewCommand:
    data = {
        "event_id": "e",
        "start_ts": START.timestamp(),
        "end_ts": END.timestamp(),
        "duration_s": round((END - max(now, START)).total_seconds()),
        "requestedReductionKw": kw,
    }
    return new_command(op, "a", data, now=now, expires_at=END)


def terms(status: str = "active", **said: Any) -> CommandTerms:
    return CommandTerms("e", status, START, END, **said)


def intervals(*pairs: tuple[float, float], **offsets_s: float) -> list[EventInterval]:
    return [
        EventInterval(duration_s, kw, **({"offset_s": offsets_s[f"n{n}"]} if f"n{n}" in offsets_s else {}))
        for n, (duration_s, kw) in enumerate(pairs)
    ]


# As people say them


@given(st.lists(st.tuples(st.integers(1, 1_200), powers), max_size=6), powers)
def test_kw_times_hours_is_kwh(pairs: list[tuple[int, float]], rest_kw: float) -> None:
    """The step function's integral is that of the intervals, and of the rest of the event."""
    end = START + 2 * HOUR
    stored = checked_intervals(intervals(*pairs), START, START, end)
    steps = requests(stored, rest_kw, START, end)
    assert [kw for _, kw in steps[: len(pairs)]] == [kw for _, kw in pairs]
    asked_s = sum(duration_s for duration_s, _ in pairs)
    expected = sum(duration_s * kw for duration_s, kw in pairs) + (7_200 - asked_s) * rest_kw
    until = [*(at for at, _ in steps[1:]), *([end] if steps else [])]
    kws = sum((stop - at).total_seconds() * kw for (at, kw), stop in zip(steps, until, strict=True))
    assert kws == (pytest.approx(expected) if pairs else 0)


def test_what_lies_before_a_start_that_has_passed_is_cut_off() -> None:
    given_intervals = intervals((60, 1), (120, 2), (3_420, 3))
    stored = checked_intervals(given_intervals, START, START + 100 * timedelta(seconds=1), END)
    assert stored == [{"duration_s": 80, "target_kw": 2}, {"duration_s": 3_420, "target_kw": 3}]
    assert [each.offset_s for each in as_given(stored)] == [0, 80]


@pytest.mark.parametrize(
    ("given_intervals", "word"),
    [
        (intervals((1_800, 1), (1_801, 2)), r"intervals\[1\].durationS reaches 1 s beyond endTime"),
        (intervals((3_601, 1)), r"intervals\[0\].durationS reaches 1 s"),
        (intervals((600, 1), (600, 2), n1=700), r"intervals\[1\].offsetS must be 600, not 700"),
        (intervals((600, 1), n0=5), r"intervals\[0\].offsetS must be 0, not 5"),
    ],
)
def test_intervals_that_are_refused(given_intervals: list[EventInterval], word: str) -> None:
    with pytest.raises(InvalidRequestError, match=word):
        checked_intervals(given_intervals, START, START, END)


# As VENs are told


def test_an_event_that_says_no_more_is_told_as_ever() -> None:
    for op in ("event", "restore"):
        plain = command(op)
        assert with_terms(plain, terms(), EVERYTHING, None) == plain


def test_a_ven_is_told_what_it_understands() -> None:
    asked = terms(direction="increase", import_limit_kw=9.0, export_limit_kw=0.0)
    for word, expected in (
        ("direction", {"direction": "increase"}),
        ("importLimitKw", {"importLimitKw": 9.0}),
        ("exportLimitKw", {"exportLimitKw": 0.0}),
        ("intervals", {}),
    ):
        assert with_terms(command(), asked, {word}, None)["data"] == command()["data"] | expected


def test_intervals_are_told_from_the_present_one_on() -> None:
    steps = ((START, 4.0), (START + 15 * MINUTE, 8.0), (START + 30 * MINUTE, 40.0))
    flexibility = Flexibility(5.0, 20.0)
    for minutes, expected in (
        (-5, [(0, 900, 1.0), (900, 900, 2.0), (1_800, 1_800, 5.0)]),
        (14.9, [(0, 900, 1.0), (900, 900, 2.0), (1_800, 1_800, 5.0)]),
        (15, [(900, 900, 1.0), (1_800, 1_800, 5.0)]),
        (59, [(1_800, 1_800, 1.0)]),
    ):
        told = with_terms(
            command(now=START + minutes * MINUTE, kw=1.0), terms(steps=steps), EVERYTHING, flexibility
        )
        announced: Any = told["data"]["intervals"]
        found = [
            (each["start_ts"] - START.timestamp(), each["duration_s"], each["targetKw"]) for each in announced
        ]
        assert found == expected
    assert "intervals" not in with_terms(command(), terms(steps=steps), {"direction"}, flexibility)["data"]


def test_a_share_that_was_told_ahead() -> None:
    ts = START.timestamp()
    told = [{"start_ts": ts, "duration_s": 900, "targetKw": 1}, {"start_ts": ts + 900, "targetKw": 2}]
    at = START + 15 * MINUTE
    assert is_announced(told, 1.0, at - MINUTE)
    assert not is_announced(told, 1.0, at)
    assert is_announced(told, 2.0, at)
    assert not is_announced(told, 1.0, START - MINUTE)
    assert not is_announced(None, 1.0, at)


# Spread


@given(st.text(max_size=5), st.lists(st.text(max_size=3), unique=True), st.integers(0, 3_600))
def test_delays_are_random_within_bounds_and_reproducible(
    event_id: str, ven_ids: list[str], longest_s: int
) -> None:
    for delay in (start_delay, return_delay):
        delays = [delay(event_id, ven_id, longest_s) for ven_id in ven_ids]
        assert delays == [delay(event_id, ven_id, longest_s) for ven_id in ven_ids]
        assert all(timedelta(0) <= each <= timedelta(seconds=longest_s) for each in delays)


def test_delays_differ_by_event_and_ven_and_are_spread_evenly() -> None:
    delays_s = [start_delay("e", f"v{n}", 100).total_seconds() for n in range(1_000)]
    assert sum(delays_s) / 1_000 == pytest.approx(50, abs=3)
    assert sum(each < 25 for each in delays_s) == pytest.approx(250, abs=45)
    assert start_delay("e", "v", 100) != start_delay("f", "v", 100) != return_delay("f", "v", 100)


@pytest.mark.parametrize("minutes", [-5, 0, 5])
def test_a_start_is_delayed_in_the_words_and_in_the_sending(minutes: float) -> None:
    now = START + minutes * MINUTE
    delay_s = start_delay("e", "a", 600).total_seconds()
    told = with_terms(command(now=now), terms(randomize_start_s=600), EVERYTHING, None)
    assert told["data"]["start_ts"] == START.timestamp() + delay_s
    assert told["data"]["end_ts"] == END.timestamp()
    wait_s = max(0.0, delay_s - 60 * max(0, minutes))
    assert (told["next_attempt_at"] - now).total_seconds() == pytest.approx(wait_s)
    assert told["data"]["duration_s"] == round(3_600 - max(delay_s, 60 * minutes))


def test_single_loads_start_and_return_with_their_ven() -> None:
    data = {"loadId": "l", "reduceKw": 1.0, "durationS": 3_600, "eventId": "e"}
    shed = new_command("shedLoad", "a", data, now=START, expires_at=END)
    assert with_terms(shed, terms(), EVERYTHING, None) == shed
    told = with_terms(shed, terms(randomize_start_s=600, stagger_return_s=300), EVERYTHING, None)
    assert told["next_attempt_at"] == START + start_delay("e", "a", 600)
    assert told["data"]["durationS"] == 3_600 + round(return_delay("e", "a", 300).total_seconds())


def test_returns_are_staggered_at_the_end_and_not_before() -> None:
    delay = return_delay("e", "a", 300)
    staggered = terms("completed", stagger_return_s=300)
    restore = with_terms(command("restore", END), staggered, EVERYTHING, None)
    assert restore["next_attempt_at"] == END + delay
    assert restore["expires_at"] >= END + delay + 5 * MINUTE
    at_once = with_terms(command("restore", END), terms("active", stagger_return_s=300), EVERYTHING, None)
    assert at_once["next_attempt_at"] == END
    told = with_terms(command(), terms(stagger_return_s=300), EVERYTHING, None)
    assert told["data"]["end_ts"] == END.timestamp() + delay.total_seconds()
    assert told["data"]["duration_s"] == round(3_600 + delay.total_seconds())
