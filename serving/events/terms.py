"""An event's terms beyond start, end and kW: direction, intervals, random delays, limits. Pure."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from msgspec import UNSET

from schemas.api.events import Event, EventInterval, EventUpdate
from serving.errors import InvalidRequestError

TERMS = (
    "direction",
    "intervals",
    "randomize_start_s",
    "stagger_return_s",
    "import_limit_kw",
    "export_limit_kw",
)
"""Names of both fields of bodies and columns of `events`."""

TOLD_IN_COMMANDS = ("intervals", "stagger_return_s", "import_limit_kw", "export_limit_kw")
"""Terms whose change is sent to notified VENs again."""

TOLERANCE_S = 0.001
"""Tolerance of sums of seconds."""

StoredInterval = dict[str, float]
"""`duration_s` and `target_kw`, as in `events.intervals`."""


def checked_intervals(
    intervals: Sequence[EventInterval] | None, first: datetime, start: datetime, end: datetime
) -> list[StoredInterval] | None:
    """Return intervals as they are stored; None without any.

    Args:
        intervals: of a body.
        first: start of the first interval: the start in the body.
        start: of the event; earlier parts are cut off.
        end: of the event.

    Raises:
        InvalidRequestError: they are not contiguous from the start, or extend beyond the end.
    """
    stored: list[StoredInterval] = []
    offset_s = 0.0
    for number, interval in enumerate(intervals or ()):
        _require_contiguous(number, interval, offset_s)
        cut_s = max(0.0, (start - first).total_seconds() - offset_s)
        offset_s += interval.duration_s
        over_s = offset_s - (end - first).total_seconds()
        if over_s > TOLERANCE_S:
            raise InvalidRequestError(
                f"intervals[{number}].durationS reaches {over_s:g} s beyond endTime; shorten it"
            )
        if interval.duration_s > cut_s:
            stored.append({"duration_s": interval.duration_s - cut_s, "target_kw": interval.target_kw})
    return stored or None


def _require_contiguous(number: int, interval: EventInterval, offset_s: float) -> None:
    if interval.offset_s is not UNSET and abs(interval.offset_s - offset_s) > TOLERANCE_S:
        raise InvalidRequestError(
            f"intervals[{number}].offsetS must be {offset_s:g}, not {interval.offset_s:g}: each interval"
            " begins where the one before it ends, the first one at startTime"
        )


def as_given(stored: Iterable[StoredInterval] | None) -> list[EventInterval]:
    """Return stored intervals as the API shows them."""
    intervals: list[EventInterval] = []
    offset_s = 0.0
    for each in stored or ():
        intervals.append(EventInterval(each["duration_s"], each["target_kw"], offset_s))
        offset_s += each["duration_s"]
    return intervals


def requests(
    intervals: Sequence[StoredInterval] | None, rest_kw: float, start: datetime, end: datetime
) -> list[tuple[datetime, float]]:
    """Return the requested power by start time, kW: a step function. None without intervals.

    Args:
        intervals: as they are stored.
        rest_kw: the request after the last one.
        start: of the event.
        end: of the event.
    """
    steps: list[tuple[datetime, float]] = []
    at = start
    for each in intervals or ():
        steps.append((at, each["target_kw"]))
        at += timedelta(seconds=each["duration_s"])
    return [*steps, (at, rest_kw)] if steps and end - at > timedelta(seconds=TOLERANCE_S) else steps


def changed_terms(request: EventUpdate, shown: Event) -> dict[str, object]:
    """Return the terms of a PATCH that differ from GET; None for removed ones."""
    terms = {name: value for name in TERMS if (value := getattr(request, name)) is not UNSET}
    return {
        name: value or None if name == "intervals" else value
        for name, value in terms.items()
        if _comparable(value) != _comparable(getattr(shown, name))
    }


def _comparable(value: object) -> object:
    if value is UNSET:
        return None
    return [(each.duration_s, each.target_kw) for each in value] or None if isinstance(value, list) else value
