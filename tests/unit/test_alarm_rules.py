"""Alarms are raised at their threshold, and cleared after a while well below it."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from jobs.alarms.measures import measures
from jobs.alarms.rules import AlarmLimits, AlarmReading, Verdict, judge
from jobs.queries.alarms import OpenAlarm
from schemas.alarms import ALARM_KINDS, KINDS

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLEAR_AFTER = timedelta(seconds=60)
THRESHOLD = 100.0


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def alarm(**fields: object) -> OpenAlarm:
    known = {"detail": "before", "value": 100.0, "worst_value": 120.0, "raised_at": START}
    return OpenAlarm(alarm_id=1, kind="vens_offline", **({"subject": ""} | known | fields))  # type: ignore[arg-type]


def verdict(value: float | None, second: float, *open_alarms: OpenAlarm) -> Verdict:
    return judge(THRESHOLD, [AlarmReading(value, "now")], open_alarms, at(second), CLEAR_AFTER)


def test_it_is_raised_at_the_threshold_and_not_below() -> None:
    assert verdict(99.9, 0) == Verdict([], [], [])
    assert verdict(100.0, 0).raised == [AlarmReading(100.0, "now")]
    assert verdict(100.0, 0, alarm()).raised == []


def test_what_cannot_be_measured_neither_raises_nor_clears() -> None:
    assert verdict(None, 0) == Verdict([], [], [])
    assert verdict(None, 600, alarm()) == Verdict([], [], [])
    assert verdict(None, 600, alarm(calm_since=START)).changed == [alarm()]


def test_it_clears_after_a_while_below_80_percent() -> None:
    assert verdict(80.0, 0, alarm(calm_since=START)).changed == [alarm(value=80.0, detail="now")]
    calm = alarm(value=79.9, calm_since=START)
    assert verdict(79.9, 0, alarm()).changed == [calm]
    assert verdict(79.9, 59, calm) == Verdict([], [], [])
    assert verdict(79.9, 60, calm).cleared == [calm]


def test_the_worst_value_is_kept() -> None:
    [changed] = verdict(130.0, 5, alarm()).changed
    assert (changed.value, changed.worst_value) == (130.0, 130.0)
    [changed] = verdict(110.0, 9, changed).changed
    assert (changed.value, changed.worst_value) == (110.0, 130.0)


def test_a_subject_that_is_gone_is_calm() -> None:
    [calm] = judge(THRESHOLD, [], [alarm()], at(5), CLEAR_AFTER).changed
    assert calm == alarm(calm_since=at(5))
    assert judge(THRESHOLD, [], [calm], at(65), CLEAR_AFTER).cleared == [calm]


def test_each_subject_is_judged_by_itself() -> None:
    readings = [
        AlarmReading(200.0, subject="a"),
        AlarmReading(10.0, subject="b"),
        AlarmReading(150.0, subject="c"),
    ]
    found = judge(
        THRESHOLD,
        readings,
        [alarm(subject="a", value=200.0, worst_value=200.0, detail="")],
        START,
        CLEAR_AFTER,
    )
    assert [reading.subject for reading in found.raised] == ["c"]
    assert found.changed == found.cleared == []


@given(st.lists(st.tuples(st.floats(0, 300), st.integers(1, 40)), max_size=30))
def test_no_alarm_flaps(values: list[tuple[float, int]]) -> None:
    """Between two alarms the value was calm for the whole while."""
    now, open_alarm = START, None
    calm_since: datetime | None = None
    for value, seconds in values:
        now += timedelta(seconds=seconds)
        found = judge(THRESHOLD, [AlarmReading(value)], [open_alarm] if open_alarm else [], now, CLEAR_AFTER)
        if found.raised:
            assert value >= THRESHOLD
            assert open_alarm is None
            open_alarm = alarm(value=value, worst_value=value, detail="")
        open_alarm = next(iter(found.changed), open_alarm)
        calm_since = (calm_since or now) if value < 80 else None
        if found.cleared:
            assert calm_since is not None
            assert now - calm_since >= CLEAR_AFTER
            open_alarm = None


def test_every_kind_has_a_threshold_a_measure_and_a_description() -> None:
    limits = AlarmLimits()
    assert list(limits.thresholds()) == list(measures(limits, {})) == list(KINDS) == list(ALARM_KINDS)
