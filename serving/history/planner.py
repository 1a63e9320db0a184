"""Plans a history request: selects the buckets, by resolution, that serve it exactly. Pure.

Times are whole microseconds since the Unix epoch, ranges half-open, None an open end.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from math import lcm
from types import MappingProxyType
from typing import Literal, Protocol

from msgspec import Struct, structs

from schemas.db.queries import Query
from schemas.times.instants import from_microseconds
from serving.history.calendar import LocalBuckets

Aggregate = Literal["sum", "energy", "mean"]
MICROSECONDS_PER_S = 1_000_000


RAW_S = 0
CUT_S = 3600
NO_HORIZONS: Mapping[int, int] = MappingProxyType({})


class RawArchive(Protocol):
    """The archive of dropped raw rows, from a time on; None: from the beginning.

    Late rows of its days are in PostgreSQL until a job has added them to the archive and the summary.
    """

    @property
    def since_us(self) -> int | None: ...

    @property
    def has_late(self) -> bool:
        """Whether there may be late rows, duplicates and conflicts among them."""
        ...

    def late_values(self, start_us: int | None, end_us: int | None) -> Mapping[str, object] | None:
        """Return the values by which a statement selects late rows of a range; None if there are none."""
        ...

    def new_rows(self, table: str, late: Query[tuple[object, ...]]) -> Mapping[str, str] | None:
        """Return the columns of those late rows whose keys the archive does not have; None without any."""
        ...

    def rows(
        self, table: str, start_us: int | None, end_us: int, key: Mapping[str, object]
    ) -> Mapping[str, str]:
        """Return the columns of a range's rows, as arrays in text, for the VENs and loads of a key."""
        ...


class HistoryRequest(Struct, frozen=True):
    """A range of time, the width of its buckets, and how samples are aggregated."""

    start_us: int | None
    end_us: int | None
    granularity_s: int
    aggregate: Aggregate = "sum"
    horizons_us: Mapping[int, int] = NO_HORIZONS
    """Horizon of each resolution (0: raw rows); without an entry nothing was deleted."""
    calendar: LocalBuckets | None = None
    """The calendar's buckets into which fixed ones are summed, if any."""
    archive: RawArchive | None = None


class Piece(Struct, frozen=True):
    """A part of a range and the resolution that serves it; None means raw rows.

    A closed one lies before the horizon of raw rows: late rows do not count there any more, and raw rows are
    read from the archive.
    """

    resolution_s: int | None
    start_us: int | None
    end_us: int | None
    is_closed: bool = False

    @property
    def is_archived(self) -> bool:
        return self.resolution_s is None and self.is_closed


class Era(Struct, frozen=True):
    """A part of a range in which the same resolutions are kept, possibly with raw rows (0)."""

    start_us: int | None
    end_us: int | None
    kept_s: tuple[int, ...]
    is_archived: bool = False
    """Whether the archive has the raw rows."""

    @property
    def is_exact(self) -> bool:
        return RAW_S in self.kept_s or self.is_archived


def plan(request: HistoryRequest, resolutions_s: Sequence[int]) -> list[Piece]:
    """Cover a range exactly once with the coarsest buckets that fit, and its edges with finer ones.

    Args:
        request: the request.
        resolutions_s: of the summary; those that do not divide the granularity cannot serve it.

    Returns:
        Pieces in order of time. A piece of buckets begins and ends on borders of its own resolution. Where
        retention has left no fine enough resolution, the finest remaining buckets count whole, where they
        begin.
    """
    return [piece for era in _eras(request, resolutions_s) for piece in _serve(era, request.granularity_s)]


def next_cut_us(at_us: int, granularity_s: int, most_buckets: int) -> int:
    """Return where a history may be cut after some buckets: on a border of theirs, and of the summary's.

    Retention leaves buckets of up to an hour, which count where they begin.
    """
    step_us = lcm(granularity_s, CUT_S) * MICROSECONDS_PER_S
    steps = max(1, -(-most_buckets * granularity_s * MICROSECONDS_PER_S // step_us))
    return (at_us // step_us + steps) * step_us


def shortfall(request: HistoryRequest, resolutions_s: Sequence[int]) -> str | None:
    """Return a warning for the client if retention makes the response inexact; None if it is exact."""
    eras = list(_eras(request, resolutions_s))
    edges = {request.start_us, request.end_us} - {None}
    coarse_s = 0
    for era in (each for each in eras if not each.is_exact):
        width_s = _closed_width_s(era, request.granularity_s)
        cut = any(
            edge % (width_s * MICROSECONDS_PER_S) for edge in edges & {era.start_us, era.end_us} if edge
        )
        if cut or request.granularity_s % width_s:
            coarse_s = max(coarse_s, width_s)
    notes = []
    if coarse_s:
        notes.append(
            f"Before {_instant(request.horizons_us[RAW_S])} there are no raw rows any more: "
            f"buckets of up to {coarse_s} s count whole, where they begin."
        )
    first_us = eras[0].start_us if eras else request.end_us
    if request.start_us is not None and first_us is not None and first_us > request.start_us:
        notes.append(f"Of the time before {_instant(first_us)} nothing is kept.")
    return " ".join(notes) or None


def _instant(us: int) -> str:
    return f"{from_microseconds(us):%FT%TZ}"


def _eras(request: HistoryRequest, resolutions_s: Sequence[int]) -> Iterator[Era]:
    """Yield the range, cut at each horizon, without the time for which nothing is kept."""
    sources_s = (RAW_S, *sorted(resolutions_s))
    since_us = {source_s: request.horizons_us.get(source_s) for source_s in sources_s}
    archived_us = None if request.archive is None else request.archive.since_us
    ends_us = {*since_us.values(), archived_us}
    cuts = sorted({us for us in ends_us if us is not None and _is_inside(us, request)})
    for start_us, end_us in pairwise([request.start_us, *cuts, request.end_us]):
        available = (
            s for s, us in since_us.items() if us is None or (start_us is not None and us <= start_us)
        )
        kept_s = tuple(available)
        is_archived = RAW_S not in kept_s and _has(request.archive, start_us)
        if kept_s or is_archived:
            yield Era(start_us, end_us, kept_s, is_archived)


def _has(archive: RawArchive | None, start_us: int | None) -> bool:
    """Return whether an archive has all raw rows that were dropped from a time on."""
    if archive is None or archive.since_us is None:
        return archive is not None
    return start_us is not None and start_us >= archive.since_us


def _is_inside(us: int, request: HistoryRequest) -> bool:
    return (request.start_us is None or us > request.start_us) and (
        request.end_us is None or us < request.end_us
    )


def _serve(era: Era, granularity_s: int) -> Iterator[Piece]:
    if era.is_exact:
        usable = sorted((r for r in era.kept_s if r and granularity_s % r == 0), reverse=True)
        pieces = _cover(era.start_us, era.end_us, usable)
        yield from (structs.replace(piece, is_closed=era.is_archived) for piece in pieces)
        return
    width_us = _closed_width_s(era, granularity_s) * MICROSECONDS_PER_S
    start_us, end_us = (
        None if us is None else -(-us // width_us) * width_us for us in (era.start_us, era.end_us)
    )
    if start_us is None or end_us is None or start_us < end_us:
        yield Piece(width_us // MICROSECONDS_PER_S, start_us, end_us, is_closed=True)


def _closed_width_s(era: Era, granularity_s: int) -> int:
    """Return the finest kept width, unless a coarser one fits the granularity and both edges as well."""
    edges = [us for us in (era.start_us, era.end_us) if us is not None]
    for width_s in sorted(era.kept_s, reverse=True):
        fits = all(edge % (width_s * MICROSECONDS_PER_S) == 0 for edge in edges)
        if fits and granularity_s % width_s == 0:
            return width_s
    return min(era.kept_s)


def _cover(start_us: int | None, end_us: int | None, usable_s: Sequence[int]) -> Iterator[Piece]:
    if start_us is not None and end_us is not None and start_us >= end_us:
        return
    if not usable_s:
        yield Piece(None, start_us, end_us)
        return
    coarsest_s, *finer_s = usable_s
    width_us = coarsest_s * MICROSECONDS_PER_S
    first_us = None if start_us is None else -(-start_us // width_us) * width_us
    last_us = None if end_us is None else end_us // width_us * width_us
    if first_us is not None and last_us is not None and first_us >= last_us:
        yield from _cover(start_us, end_us, finer_s)
        return
    if start_us is not None:
        yield from _cover(start_us, first_us, finer_s)
    yield Piece(coarsest_s, first_us, last_us)
    if end_us is not None:
        yield from _cover(last_us, end_us, finer_s)
