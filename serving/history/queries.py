"""One statement, and so one view of the database, for a history: summary, what is pending, raw edges.

What a statement looks like follows from which pieces its plan has, not from where they begin and end: so
few statements serve all requests, and each is built once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache, lru_cache, partial
from itertools import groupby
from types import MappingProxyType
from typing import Any

from msgspec import Struct
from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Float,
    Interval,
    Select,
    Table,
    bindparam,
    case,
    cast,
    false,
    func,
    literal,
    select,
    text,
    union,
    union_all,
)

from schemas.instants import EPOCH, MICROSECOND, from_microseconds
from schemas.tables.history import (
    ENTITY_RESOLUTIONS_S,
    NETWORK_RESOLUTIONS_S,
    SLOT_S,
    horizons,
    load_history,
    network_energy,
    network_history,
    stale_slots,
    ven_history,
)
from schemas.tables.ledger import ingest_batches, pending_batches
from schemas.tables.raw import ven_load_samples, ven_telemetry
from serving.db.statements import Query
from serving.history.limits import points_per_bucket
from serving.history.planner import MICROSECONDS_PER_S, HistoryRequest, Piece, plan

SLOT_HOURS = SLOT_S / 3600
STATEMENTS = 256
"""Of each kind; the pieces that a plan can have make some dozens."""

NO_KEY: Mapping[str, str] = MappingProxyType({})
"""The key of what is not kept by VEN."""


HOLD_RAW = text("LOCK TABLE ONLY ven_telemetry, ONLY ven_load_samples IN ACCESS SHARE MODE")
"""First of a transaction: what is seen then is there, and is not dropped, until its end."""


@cache
def since() -> Select[Any]:
    """Since when which resolution is kept."""
    return select(horizons.c.resolution_s, horizons.c.since)


class Series(Struct, frozen=True):
    """Whose history: the raw samples, their buckets, the lane that keeps these, and what names the entity.

    `by` keeps entities apart where a query spans several.
    """

    raw: Table
    buckets: Table
    resolutions_s: tuple[int, ...]
    lane: str
    of: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    raw_rows_per_s: float = 1
    """At a guess: VENs report every few seconds."""


NETWORK = Series(ven_telemetry, network_history, NETWORK_RESOLUTIONS_S, "snapshot", raw_rows_per_s=20_000)
VEN = Series(ven_telemetry, ven_history, ENTITY_RESOLUTIONS_S, "history", of=("ven_id",))
LOAD = Series(ven_load_samples, load_history, ENTITY_RESOLUTIONS_S, "history", of=("ven_id", "load_id"))
VENS = Series(ven_telemetry, ven_history, ENTITY_RESOLUTIONS_S, "history", by=("ven_id",))
"""All VENs, each on its own: what the network's energy is made of."""


class Part(Struct, frozen=True):
    """What a statement knows of a piece of a plan: its source, and the parameters that are its ends."""

    resolution_s: int | None = SLOT_S
    start: str | None = None
    end: str | None = None
    is_closed: bool = False

    @property
    def has_pending(self) -> bool:
        """Whether there may be more in it than the summary knows."""
        return self.resolution_s is not None and not self.is_closed


Parts = tuple[Part, ...]
UNBOUNDED = Part()
Width = ColumnElement[Any]
WIDTH: Width = bindparam("width", type_=Interval)
SLOT: Width = literal(timedelta(seconds=SLOT_S))


def _parts(pieces: Sequence[Piece]) -> Parts:
    return tuple(
        Part(
            piece.resolution_s,
            None if piece.start_us is None else f"start_{number}",
            None if piece.end_us is None else f"end_{number}",
            piece.is_closed,
        )
        for number, piece in enumerate(pieces)
    )


def _ends(pieces: Sequence[Piece]) -> dict[str, datetime]:
    ends: dict[str, datetime] = {}
    for number, piece in enumerate(pieces):
        if piece.start_us is not None:
            ends[f"start_{number}"] = from_microseconds(piece.start_us)
        if piece.end_us is not None:
            ends[f"end_{number}"] = from_microseconds(piece.end_us)
    return ends


def _query(
    build: Callable[[Series, Parts], Select[Any]],
    series: Series,
    pieces: Sequence[Piece],
    granularity_s: int,
    key: Mapping[str, str],
) -> Query:
    width = timedelta(seconds=granularity_s)
    return Query(build(series, _parts(pieces)), {**key, **_ends(pieces), "width": width})


def extent(series: Series, key: Mapping[str, str] = NO_KEY) -> Query:
    """The first and the last instant at which something may be stored: of buckets, and of what is pending."""
    return Query(_extent(series), key)


@cache
def _extent(series: Series) -> Select[Any]:
    parts = [_extent_of_buckets(series, resolution_s) for resolution_s in series.resolutions_s]
    raw = series.raw
    parts.append(
        select(func.min(raw.c.ts).label("first"), func.max(raw.c.ts).label("last")).where(
            *_of(series, raw), *_is_pending(raw, series.lane)
        )
    )
    every = union_all(*parts).subquery()
    return select(func.min(every.c.first), func.max(every.c.last))


def _extent_of_buckets(series: Series, resolution_s: int) -> Select[Any]:
    """Only in the finest buckets can samples lie anywhere; coarser ones count where they begin, if at all."""
    table = series.buckets
    last: ColumnElement[Any] = func.max(table.c.bucket)
    if resolution_s == min(series.resolutions_s):
        last += literal(timedelta(seconds=resolution_s) - MICROSECOND)
    in_buckets = [table.c.resolution_s == resolution_s, *_of(series, table)]
    return select(func.min(table.c.bucket).label("first"), last.label("last")).where(*in_buckets)


def points_at_most(series: Series, request: HistoryRequest, key: Mapping[str, str] = NO_KEY) -> Query:
    """How many points a history has at most: of sparse samples there are fewer than of buckets in the range.

    A bucket of the summary has no more points than it has samples, or than fit into it.
    """
    width_s = max(series.resolutions_s)
    piece = Piece(width_s, _down(request.start_us, width_s), request.end_us)
    most_each = points_per_bucket(width_s, request.granularity_s)
    return _query(partial(_points_at_most, most_each), series, [piece], request.granularity_s, key)


def _points_at_most(most_each: int, series: Series, parts: Parts) -> Select[Any]:
    [piece], table = parts, series.buckets
    stored = select(func.sum(func.least(table.c.samples, most_each))).where(
        table.c.resolution_s == piece.resolution_s, *_of(series, table), *_within(table.c.bucket, piece)
    )
    pending = _pending_states(series, piece, WIDTH).subquery()
    new = select(func.count(pending.c.bucket.distinct()))
    return select(func.coalesce(stored.scalar_subquery(), 0) + new.scalar_subquery())


def _down(us: int | None, width_s: int) -> int | None:
    return None if us is None else us - us % (width_s * MICROSECONDS_PER_S)


def sums(series: Series, request: HistoryRequest, key: Mapping[str, str] = NO_KEY) -> Query:
    """`bucket`, the sums of the samples in it, kW, and the keys that tell entities apart; oldest first."""
    return _query(_sums, series, plan(request, series.resolutions_s), request.granularity_s, key)


def energies(series: Series, request: HistoryRequest, key: Mapping[str, str] = NO_KEY) -> Query:
    """`bucket`, used and shed energy in it, kWh, the hours of its slots with samples, and the keys."""
    return _query(_energies, series, plan(request, [SLOT_S]), request.granularity_s, key)


@lru_cache(maxsize=STATEMENTS)
def _sums(series: Series, parts: Parts) -> Select[Any]:
    states = _states(series, parts, WIDTH).subquery()
    keys = [states.c[column] for column in series.by]
    return (
        select(
            states.c.bucket,
            func.sum(states.c.used_sum).label("used_power_kw"),
            func.sum(states.c.shed_sum).label("shed_power_kw"),
            *keys,
        )
        .group_by(states.c.bucket, *keys)
        .order_by(states.c.bucket, *keys)
    )


@lru_cache(maxsize=STATEMENTS)
def _energies(series: Series, parts: Parts) -> Select[Any]:
    slots = (_network_slots(parts) if series is NETWORK else _entity_slots(series, parts)).subquery()
    bucket = _floor(slots.c.slot, WIDTH).label("bucket")
    hours = func.count(slots.c.slot.distinct()) * SLOT_HOURS
    keys = [slots.c[column] for column in series.by]
    return (
        select(
            bucket,
            func.sum(slots.c.used_kwh).label("used_energy_kwh"),
            func.sum(slots.c.shed_kwh).label("shed_energy_kwh"),
            hours.label("hours"),
            *keys,
        )
        .group_by(bucket, *keys)
        .order_by(bucket, *keys)
    )


def _network_slots(pieces: Parts) -> CompoundSelect[Any]:
    """Energy by slot: ready made, but for slots whose VEN history has news, and those that an edge cuts."""
    parts: list[Select[Any]] = []
    for piece in pieces:
        if piece.resolution_s is None:
            parts.append(_slot_energies([_raw_states(VENS, piece, SLOT)]))
        else:
            in_piece = _within(network_energy.c.bucket, piece)
            parts.append(
                select(
                    network_energy.c.bucket.label("slot"),
                    network_energy.c.used_energy_kwh.label("used_kwh"),
                    network_energy.c.shed_energy_kwh.label("shed_kwh"),
                ).where(*in_piece, network_energy.c.bucket.not_in(_slots_with_news()))
            )
            parts.append(_slot_energies(_states_with_news(piece)))
    return union_all(*parts or [_slot_energies([_nothing(VENS, SLOT)])])


def _states_with_news(piece: Part) -> list[Select[Any]]:
    stored = _bucket_states(VENS, piece, SLOT).where(ven_history.c.bucket.in_(_slots_with_news()))
    return [stored] if piece.is_closed else [stored, _pending_states(VENS, piece, SLOT)]


def _slots_with_news() -> Select[Any]:
    """Slots with samples that are newer than their energy."""
    pending = select(_floor(ven_telemetry.c.ts, SLOT)).where(*_is_pending(ven_telemetry, "history"))
    either = union(select(stale_slots.c.bucket), pending).subquery()
    return select(either.c.bucket)


def _entity_slots(series: Series, pieces: Parts) -> Select[Any]:
    return _slot_energies([_states(series, pieces, SLOT)], series.by)


def _slot_energies(
    states: Sequence[Select[Any] | CompoundSelect[Any]], names: Sequence[str] = ()
) -> Select[Any]:
    """Each entity's mean power in the slot times 1/12 h, and the keys of the entity.

    No value in the slot adds nothing.
    """
    merged = union_all(*states).subquery()
    keys = [merged.c.ven_id] if "ven_id" in merged.c else []

    def energy(quantity: str) -> ColumnElement[Any]:
        total, count = func.sum(merged.c[f"{quantity}_sum"]), func.sum(merged.c[f"{quantity}_samples"])
        mean = total / cast(func.nullif(count, 0), Float)
        return func.coalesce(mean * SLOT_HOURS, 0.0).label(f"{quantity}_kwh")

    slot = merged.c.bucket.label("slot")
    columns = [merged.c[name] for name in names]
    return select(slot, energy("used"), energy("shed"), *columns).group_by(slot, *keys)


def _states(series: Series, pieces: Parts, width: Width) -> CompoundSelect[Any]:
    """Mergeable states of the pieces, in buckets of a width; several rows may share a bucket."""
    stored = [
        (_raw_states if piece.resolution_s is None else _bucket_states)(series, piece, width)
        for piece in pieces
    ]
    pending = [_pending_states(series, stretch, width) for stretch in _stretches(pieces)]
    return union_all(*stored, *pending) if pieces else union_all(_nothing(series, width))


def _stretches(pieces: Parts) -> Iterator[Part]:
    """Pieces one after the other that lack what is pending: that is looked for once, from end to end."""
    for has_pending, group in groupby(pieces, lambda piece: piece.has_pending):
        if has_pending:
            stretch = list(group)
            yield Part(None, stretch[0].start, stretch[-1].end)


def _nothing(series: Series, width: Width) -> Select[Any]:
    """No rows, since nothing of the range is kept."""
    return _bucket_states(series, UNBOUNDED, width).where(false())


def _raw_states(series: Series, piece: Part, width: Width) -> Select[Any]:
    raw, keys = series.raw, [series.raw.c[column] for column in series.by]
    return select(
        _floor(raw.c.ts, width).label("bucket"),
        *keys,
        func.coalesce(raw.c.used_power_kw, 0.0).label("used_sum"),
        case((raw.c.used_power_kw.is_not(None), 1), else_=0).label("used_samples"),
        func.coalesce(raw.c.shed_power_kw, 0.0).label("shed_sum"),
        case((raw.c.shed_power_kw.is_not(None), 1), else_=0).label("shed_samples"),
    ).where(*_of(series, raw), *_within(raw.c.ts, piece))


def _pending_states(series: Series, piece: Part, width: Width) -> Select[Any]:
    """What the summary does not hold yet: the rows of the batches that its lane has not consumed."""
    return _raw_states(series, piece, width).where(*_is_pending(series.raw, series.lane))


def _bucket_states(series: Series, piece: Part, width: Width) -> Select[Any]:
    table, keys = series.buckets, [series.buckets.c[column] for column in series.by]
    return select(
        _floor(table.c.bucket, width).label("bucket"),
        *keys,
        table.c.used_power_kw_sum.label("used_sum"),
        table.c.used_samples,
        table.c.shed_power_kw_sum.label("shed_sum"),
        table.c.shed_samples,
    ).where(table.c.resolution_s == piece.resolution_s, *_of(series, table), *_within(table.c.bucket, piece))


def _of(series: Series, table: Table) -> list[ColumnElement[bool]]:
    return [table.c[column] == bindparam(column) for column in series.of]


def _is_pending(raw: Table, lane: str) -> list[ColumnElement[bool]]:
    """Rows of pending batches; the span of their device times spares all other partitions."""
    batches = (
        select(ingest_batches)
        .join(pending_batches, pending_batches.c.batch_id == ingest_batches.c.batch_id)
        .where(pending_batches.c.lane == lane)
        .subquery()
    )
    return [
        raw.c.batch_id.in_(select(batches.c.batch_id)),
        raw.c.ts >= select(func.min(batches.c.first_ts)).scalar_subquery(),
        raw.c.ts <= select(func.max(batches.c.last_ts)).scalar_subquery(),
    ]


def _within(instant: ColumnElement[datetime], piece: Part) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if piece.start is not None:
        conditions.append(instant >= bindparam(piece.start))
    if piece.end is not None:
        conditions.append(instant < bindparam(piece.end))
    return conditions


def _floor(instant: ColumnElement[Any], width: Width) -> ColumnElement[Any]:
    return func.date_bin(width, instant, literal(EPOCH))
