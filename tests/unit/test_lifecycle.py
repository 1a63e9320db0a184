"""The life of an event: the result does not depend on when, or how often, the job runs."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from jobs.transforms.events.lifecycle import OVER, Course, advanced, may_notify

START = datetime(2026, 1, 15, 17, tzinfo=UTC)
END = START + timedelta(hours=1)
EVENT = Course("scheduled", START, END)

instants = st.integers(-100, 200).map(lambda minutes: START + timedelta(minutes=minutes))
looks = st.lists(instants, max_size=8).map(sorted)


def after(event: Course, times: list[datetime]) -> Course:
    for now in times:
        event = advanced(event, now)
    return event


def stopped(event: Course, at: datetime) -> Course:
    return Course(event.status, START, END, event.started_at, at)


@given(looks)
def test_it_stands_where_the_clock_stands(times: list[datetime]) -> None:
    event = after(EVENT, times)
    last = times[-1] if times else START - timedelta(1)
    expected = "scheduled" if last < START else "active" if last < END else "completed"
    assert event.status == expected
    looked = [now for now in times if START <= now < END]
    missed = START if event.status == "completed" else None
    assert event.started_at == (looked[0] if looked else missed)
    assert event.ended_at == (END if event.status == "completed" else None)


@given(looks, instants)
def test_a_second_look_changes_nothing(times: list[datetime], now: datetime) -> None:
    event = advanced(after(EVENT, times), now)
    assert advanced(event, now) == event


@given(looks, looks)
def test_what_is_over_stays_as_it_is(before: list[datetime], later: list[datetime]) -> None:
    event = after(EVENT, [*before, END])
    assert after(event, later) == event
    for status in OVER:
        called_off = Course(status, START, END, None, START)
        assert after(called_off, later) == called_off


@given(instants)
def test_one_that_is_stopped_is_completed_when_next_looked_at(now: datetime) -> None:
    at = START + timedelta(minutes=10)
    event = stopped(advanced(EVENT, START), at)
    assert advanced(event, now) == Course("completed", START, END, START, at)


@given(looks)
def test_statuses_only_go_forward(times: list[datetime]) -> None:
    order = ["scheduled", "active", "completed"]
    seen = [after(EVENT, times[:number]).status for number in range(len(times) + 1)]
    assert seen == sorted(seen, key=order.index)


def test_nobody_is_told_at_the_very_end() -> None:
    active = advanced(EVENT, START)
    assert may_notify(active, END - timedelta(seconds=61))
    assert not may_notify(active, END - timedelta(seconds=60))
    assert not may_notify(stopped(active, START), START + timedelta(minutes=1))
    assert not may_notify(advanced(active, END), START)
    short = Course("active", START, START + timedelta(seconds=20), START)
    assert may_notify(short, START + timedelta(seconds=17))
    assert not may_notify(short, START + timedelta(seconds=18))
