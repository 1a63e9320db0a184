"""What power an event of OpenADR asks for, as an event of this service has it. Pure.

kW are of all VENs together that it aims at. `DISPATCH_SETPOINT_RELATIVE` is a change of consumption: below
zero it asks for less, above for more. A level of `SIMPLE` asks for a third, two thirds or all of what the
VENs could shed when the event was made.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal

from msgspec import Struct

from schemas.demand_response.candidates import EventDirection
from schemas.devices.wire import LARGEST_KW
from schemas.openadr import EventRequest, Interval
from schemas.openadr_shares import HIGHEST_LEVEL, RELATIVE, SIMPLE
from schemas.openadr_times import TimedInterval
from schemas.times.durations import parse_duration
from serving.openadr.event_times import event_end, timed_intervals

IMPORT_LIMIT, EXPORT_LIMIT = "IMPORT_CAPACITY_LIMIT", "EXPORT_CAPACITY_LIMIT"
KW = "KW"
LOWEST_PRIORITY = 100
"""Of OpenADR's priorities, this one and all above it are the lowest here: 0."""

MOST_STEPS = 1_000
LONGEST_SPREAD_S = 3_600
REST = timedelta(milliseconds=1)


class NotSharedError(Exception):
    """An event asks for nothing that can be shared out."""


class Step(Struct, frozen=True):
    """A time in which an event asks for the same change of consumption, kW."""

    start: datetime
    end: datetime
    change_kw: float


class AskedPower(Struct, frozen=True):
    """An event of this service, without whom it asks."""

    start: datetime
    end: datetime
    direction: EventDirection
    requested_kw: float
    intervals: list[tuple[float, float]] | None
    """Seconds and kW, from the start on; None where it asks for the same throughout."""

    randomize_start_s: float
    priority: int
    import_limit_kw: float | None
    export_limit_kw: float | None


def asks_for_power(event: EventRequest) -> bool:
    """Whether an event has payloads that could be shared out."""
    return any(
        _value(each, kind) is not None for each in event.intervals or () for kind in (RELATIVE, SIMPLE)
    )


def asked_power(
    event: EventRequest, made_at: datetime, not_before: datetime, flexibility_kw: Callable[[], float]
) -> AskedPower:
    """What an event asks for.

    Args:
        event: as a client sent it.
        made_at: what a start at once means.
        not_before: what lies before it is cut off.
        flexibility_kw: what its VENs could shed; called for levels of `SIMPLE` only.

    Raises:
        NotSharedError: it is over, never ends, or cannot be said as one event.
    """
    try:
        steps = _cut(_looped(event, made_at, flexibility_kw), not_before)
    except OverflowError:
        raise NotSharedError("it ends beyond the calendar") from None
    direction = _direction(steps)
    kw = [abs(step.change_kw) for step in steps]
    if max(kw) > LARGEST_KW:
        raise NotSharedError(f"it asks for more than {LARGEST_KW:g} kW")
    is_constant = len(set(kw)) == 1
    durations = [(step.end - step.start).total_seconds() for step in steps]
    return AskedPower(
        start=steps[0].start,
        end=steps[-1].end,
        direction=direction,
        requested_kw=max(kw),
        intervals=None if is_constant else list(zip(durations, kw, strict=True)),
        randomize_start_s=_spread_s(event, steps),
        priority=turned_priority(event.priority),
        import_limit_kw=_limit_kw(event, IMPORT_LIMIT),
        export_limit_kw=_limit_kw(event, EXPORT_LIMIT),
    )


def turned_priority(priority: int | None) -> int:
    """A lower number goes first in OpenADR, a higher one here; without one, last."""
    return 0 if priority is None else LOWEST_PRIORITY - min(priority, LOWEST_PRIORITY)


def _looped(event: EventRequest, made_at: datetime, flexibility_kw: Callable[[], float]) -> list[Step]:
    """The steps of an event, contiguous; repeated or cut where it has a duration of its own."""
    end = event_end(event, made_at)
    if end is None:
        raise NotSharedError("it has no end")
    once = _contiguous([_step(event, each, flexibility_kw) for each in timed_intervals(event, made_at)])
    if not once or once[-1].end <= once[0].start:
        raise NotSharedError("its intervals have no length")
    length = once[-1].end - once[0].start
    loops = 1 if event.duration is None else -(-(end - once[0].start) // length)
    if loops * len(once) > MOST_STEPS:
        raise NotSharedError(f"it has more than {MOST_STEPS} intervals")
    steps = [
        Step(step.start + number * length, step.end + number * length, step.change_kw)
        for number in range(loops)
        for step in once
    ]
    return [Step(step.start, min(step.end, end), step.change_kw) for step in steps if step.start < end]


def _step(event: EventRequest, timed: TimedInterval, flexibility_kw: Callable[[], float]) -> Step:
    if timed.end is None:
        raise NotSharedError("an interval has no end")
    return Step(timed.start, timed.end, _change_kw(event, timed.interval, flexibility_kw))


def _change_kw(event: EventRequest, interval: Interval, flexibility_kw: Callable[[], float]) -> float:
    relative, level = _value(interval, RELATIVE), _value(interval, SIMPLE)
    if relative is not None:
        _require_kw(event, RELATIVE)
        return relative
    if not level:
        return 0.0
    if level not in range(HIGHEST_LEVEL + 1):
        raise NotSharedError(f"SIMPLE has no level {level:g}")
    return -flexibility_kw() * level / HIGHEST_LEVEL


def _value(interval: Interval, kind: str) -> float | None:
    """The number of a payload; None where there is none of that type."""
    for payload in interval.payloads:
        match payload.values:
            case [bool()]:
                continue
            case [float() | int() as number] if payload.type == kind:
                return float(number)
    return None


def _require_kw(event: EventRequest, kind: str) -> None:
    for each in event.payload_descriptors or ():
        if each.payload_type == kind and each.units not in {None, KW}:
            raise NotSharedError(f"{kind} is in {each.units}, not in {KW}")


def _contiguous(steps: Iterable[Step]) -> list[Step]:
    """In order of time, with a request of zero in the gaps."""
    ordered = sorted((step for step in steps if step.end > step.start), key=lambda step: step.start)
    return list(_with_gaps(ordered))


def _with_gaps(steps: Sequence[Step]) -> Iterator[Step]:
    for before, step in pairwise(steps):
        yield before
        if step.start < before.end:
            raise NotSharedError("its intervals overlap")
        if step.start > before.end:
            yield Step(before.end, step.start, 0.0)
    yield from steps[-1:]


def _cut(steps: Sequence[Step], not_before: datetime) -> list[Step]:
    left = [
        Step(max(step.start, not_before), step.end, step.change_kw)
        for step in steps
        if step.end > not_before + REST
    ]
    if not left:
        raise NotSharedError("it is over")
    return left


def _direction(steps: Sequence[Step]) -> Literal["reduce", "increase"]:
    asks_less = any(step.change_kw < 0 for step in steps)
    asks_more = any(step.change_kw > 0 for step in steps)
    if asks_less and asks_more:
        raise NotSharedError("it asks for less and for more")
    if not (asks_less or asks_more):
        raise NotSharedError("it asks for no change, or nobody could shed anything")
    return "reduce" if asks_less else "increase"


def _spread_s(event: EventRequest, steps: Sequence[Step]) -> float:
    """A random delay of the start; OpenADR has it on either side of the start, VENs here after it."""
    text = event.interval_period.randomize_start if event.interval_period else None
    spread_s = 0.0 if text is None else abs(parse_duration(text).seconds)
    length_s = (steps[-1].end - steps[0].start).total_seconds()
    return min(spread_s, LONGEST_SPREAD_S, length_s / 2)


def _limit_kw(event: EventRequest, kind: str) -> float | None:
    """The lowest limit of all intervals, as an event here has one throughout."""
    limits = [limit for each in event.intervals or () if (limit := _value(each, kind)) is not None]
    if not limits or not 0 <= min(limits) <= LARGEST_KW:
        return None
    try:
        _require_kw(event, kind)
    except NotSharedError:
        return None
    return min(limits)
