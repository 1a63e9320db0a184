"""Limits on the points of a history, and the granularity that keeps within them. Pure."""

from collections.abc import Sequence

from schemas.tables.history import SLOT_S
from schemas.times.instants import from_microseconds
from serving.errors import TooManyPointsError, TooSlowError
from serving.history.planner import MICROSECONDS_PER_S, HistoryRequest, Piece

MAX_POINTS = 1_000_000
ROUND_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400)
"""Granularities that errors suggest."""

SMALL_POINTS = 1_001
"""Buckets of a part: a thousand whole ones, of which one may be cut in two."""

SMALL_ROWS = 100_000
AHEAD_US = 300 * MICROSECONDS_PER_S
LEAST_DAYS = {"d": 1, "w": 7, "mo": 28, "y": 365}
UNITS = ((3_600, "h"), (60, "m"), (1, "s"))


def too_slow(request: HistoryRequest, resolutions_s: Sequence[int]) -> TooSlowError | None:
    """Return the error that suggests a faster granularity; None if there is none."""
    quick_s = quick_granularity_s(request.granularity_s, resolutions_s)
    if quick_s is None:
        return None
    requested, quick = as_text(request.granularity_s), as_text(quick_s)
    return TooSlowError(
        f"granularity must be {quick}, or the range shorter: {requested} has to be added up from more rows "
        f"than the database can read in time, and {quick} is kept added up"
    )


def quick_granularity_s(granularity_s: int, resolutions_s: Sequence[int]) -> int | None:
    """Return the finest round granularity, not finer than this, that coarser buckets serve, if any."""
    used_s = max((each for each in resolutions_s if granularity_s % each == 0), default=0)
    coarser_s = [each for each in resolutions_s if each > used_s]
    for round_s in ROUND_S:
        if round_s > granularity_s and any(round_s % each == 0 for each in coarser_s):
            return round_s
    coarsest_s = max(coarser_s, default=0)
    return (granularity_s // coarsest_s + 1) * coarsest_s if coarsest_s else None


def too_many_points(
    request: HistoryRequest, first_us: int, last_us: int, points: int, max_points: int
) -> TooManyPointsError:
    """Return the error for a history from `first_us` to `last_us`; it suggests an allowed granularity."""
    fitting_s = fitting_granularity_s(first_us, last_us, max_points, request.aggregate)
    return TooManyPointsError(
        f"granularity must be {as_text(fitting_s)} or coarser, or the range shorter: "
        f"{as_text(request.granularity_s)} gives up to {points} points from {_instant(first_us)} to "
        f"{_instant(last_us)}, and an answer has at most {max_points}"
    )


def too_many_rows(
    request: HistoryRequest, first_us: int, last_us: int, points: int, max_points: int, histories: int
) -> TooManyPointsError:
    """Return the error for a response with several histories; it suggests ways to request less."""
    each = max(1, max_points // histories)
    fitting_s = fitting_granularity_s(first_us, last_us, each, request.aggregate)
    coarser = f"granularity must be {as_text(fitting_s)} or coarser, or " if histories <= max_points else ""
    return TooManyPointsError(
        f"{coarser}the range must be shorter, or the histories fewer (name VENs, a group or a type; by=group "
        f"and by=type give totals): {histories} histories from {_instant(first_us)} to {_instant(last_us)} "
        f"have up to {points} points, and an answer has at most {max_points}"
    )


def answered_buckets(request: HistoryRequest, first_us: int, last_us: int) -> int:
    """Count the buckets of a response in a range; those of a calendar by their smallest width."""
    if request.calendar is None:
        return buckets(first_us, last_us, request.granularity_s)
    width_s = LEAST_DAYS[request.calendar.unit] * request.calendar.count * ROUND_S[-1]
    return buckets(first_us, last_us, width_s) + 1


def is_short(request: HistoryRequest, max_points: int) -> bool:
    """Return whether a range is too short for too many points, whatever is stored."""
    if request.start_us is None or request.end_us is None:
        return False
    return buckets(request.start_us, request.end_us - 1, request.granularity_s) <= max_points


def is_small(
    request: HistoryRequest, pieces: Sequence[Piece], now_us: int, raw_rows_per_s: float, max_points: int
) -> bool:
    """Return whether a history has few points from few rows, whatever is stored: it need not be streamed.

    Args:
        request: the request; without an end it ends about now, as devices' clocks do.
        pieces: the plan for it.
        now_us: the time.
        raw_rows_per_s: estimated raw rows per second.
        max_points: limit of points of a response.
    """
    end_us = now_us + AHEAD_US if request.end_us is None else request.end_us
    if request.start_us is None or request.start_us >= end_us:
        return False
    if buckets(request.start_us, end_us - 1, request.granularity_s) > min(SMALL_POINTS, max_points):
        return False
    rows = (
        (min(end_us, piece.end_us or end_us) - (piece.start_us or 0))
        / MICROSECONDS_PER_S
        * (1 / piece.resolution_s if piece.resolution_s else raw_rows_per_s)
        for piece in pieces
    )
    return sum(rows) <= SMALL_ROWS


def buckets(first_us: int, last_us: int, granularity_s: int) -> int:
    """Count the buckets that overlap a range."""
    width_us = granularity_s * MICROSECONDS_PER_S
    return max(0, last_us // width_us - first_us // width_us + 1)


def points_per_bucket(width_s: int, granularity_s: int) -> int:
    """Return the most points that the samples in one bucket of the summary yield."""
    if granularity_s % width_s == 0:
        return 1
    return width_s // granularity_s + (0 if width_s % granularity_s == 0 else 2)


def fitting_granularity_s(first_us: int, last_us: int, max_points: int, aggregate: str = "sum") -> int:
    """Return the finest round granularity valid for the aggregate that keeps a range within the limit."""
    for granularity_s in (each for each in ROUND_S if aggregate == "sum" or each % SLOT_S == 0):
        if buckets(first_us, last_us, granularity_s) <= max_points:
            return granularity_s
    days = 2
    while buckets(first_us, last_us, days * ROUND_S[-1]) > max_points:
        days *= 2
    return days * ROUND_S[-1]


def as_text(granularity_s: int) -> str:
    """Return a granularity in the parameter's form, such as `5m`."""
    unit_s, unit = next((size, unit) for size, unit in UNITS if granularity_s % size == 0)
    return f"{granularity_s // unit_s}{unit}"


def extent(request: HistoryRequest, stored: Sequence[int | None]) -> tuple[int, int] | None:
    """Return the first and last instant that a history can have; None if nothing is stored in its range."""
    first_us, last_us = stored
    if first_us is None or last_us is None:
        return None
    first_us = first_us if request.start_us is None else max(first_us, request.start_us)
    last_us = last_us if request.end_us is None else min(last_us, request.end_us - 1)
    return (first_us, last_us) if first_us <= last_us else None


def _instant(us: int) -> str:
    return f"{from_microseconds(us):%FT%TZ}"
