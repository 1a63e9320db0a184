"""The SQL of a history, one statement and so one snapshot: the summary, pending batches, raw edges.

A statement depends on the kinds of pieces in its plan, not on where they begin and end: so few statements
serve all requests, and each is compiled once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache, partial
from itertools import groupby
from operator import attrgetter

from msgspec import Struct, structs
from sqlalchemy import (
    ARRAY,
    BindParameter,
    ColumnElement,
    DateTime,
    Double,
    FromClause,
    Interval,
    Text,
    bindparam,
    case,
    cast,
    column,
    func,
    literal,
    select,
    union,
    union_all,
)
from sqlalchemy.types import TypeEngine

from schemas.db.queries import Query, Relation, Union
from schemas.tables.history import (
    SLOT_S,
    network_energy,
    stale_slots,
    ven_history,
)
from schemas.tables.raw import ven_telemetry
from schemas.tables.registry import slot_widths
from schemas.times import slots
from schemas.times.instants import MICROSECOND, from_microseconds
from schemas.times.slots import floor
from serving.db.statements import constant, constant_name
from serving.history import late_queries
from serving.history.limits import points_per_bucket
from serving.history.planner import MICROSECONDS_PER_S, HistoryRequest, Piece, plan
from serving.history.series import NETWORK, NO_KEY, VENS, Series, is_pending, of_each_member, of_entity

STATEMENTS = 256
"""Size of the cache of statements of each kind; plans have some dozens of combinations of pieces."""

DAY = timedelta(days=1)

ColumnType = TypeEngine[str] | TypeEngine[datetime] | TypeEngine[float]
ARCHIVED: dict[str, ColumnType] = {
    "ven_id": Text(),
    "load_id": Text(),
    "ts": DateTime(timezone=True),
    "used_power_kw": Double(),
    "shed_power_kw": Double(),
}
"""Columns of archived rows."""

LATE = "late"
"""Prefix of the parameters with late rows of the archive's days."""

BucketRow = tuple[object, ...]
"""The start of a bucket, its sums, and the keys of its entity, if any."""


class PieceShape(Struct, frozen=True):
    """The part of a piece on which a statement depends: its source, and the parameters of its ends."""

    resolution_s: int | None = SLOT_S
    start: str | None = None
    end: str | None = None
    is_closed: bool = False
    archived: str | None = None
    """Prefix of the parameters with archived rows; None if PostgreSQL has the raw rows."""
    begins_s: int | None = None
    """The start is rounded down to a multiple of this."""
    ends_s: int | None = None
    """The end is rounded up to a multiple of this."""
    has_late: bool = False
    """Whether the parameters have late rows of the archive's days."""
    beside: "PieceShape | None" = None
    """Intersected with this part, if given."""

    @property
    def has_pending(self) -> bool:
        """Whether pending batches may have rows in it."""
        return self.resolution_s is not None and not self.is_closed

    def widened(self) -> "PieceShape":
        """Return the piece widened to the borders of wide slots."""
        return structs.replace(self, begins_s=slots.WIDEST_S, ends_s=slots.WIDEST_S)

    def near(self, other: "PieceShape") -> "PieceShape":
        """Return its part in the same wide slots as another piece."""
        return structs.replace(self, beside=other.widened())


PieceShapes = tuple[PieceShape, ...]
UNBOUNDED = PieceShape()
Width = ColumnElement[timedelta]
WIDTH: Width = bindparam("width", type_=Interval)
SLOT: Width = literal(timedelta(seconds=SLOT_S))


def _parts(pieces: Sequence[Piece], *, has_late: bool) -> PieceShapes:
    return tuple(
        PieceShape(
            piece.resolution_s,
            None if piece.start_us is None else f"start_{number}",
            None if piece.end_us is None else f"end_{number}",
            piece.is_closed,
            f"archived_{number}" if piece.is_archived else None,
            has_late=has_late and piece.is_closed,
        )
        for number, piece in enumerate(pieces)
    )


def _ends(pieces: Sequence[Piece]) -> dict[str, datetime]:
    ends: dict[str, datetime] = {}
    for number, piece in enumerate(pieces):
        if piece.start_us is not None:
            ends |= _end_and_midnight(f"start_{number}", piece.start_us)
        if piece.end_us is not None:
            ends |= _end_and_midnight(f"end_{number}", piece.end_us, DAY)
    return ends


def _end_and_midnight(name: str, us: int, days_later: timedelta = timedelta(0)) -> dict[str, datetime]:
    at = from_microseconds(us)
    midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
    return {name: at, constant_name(name): midnight + days_later}


def _query(
    build: Callable[[Series, PieceShapes], Relation],
    series: Series,
    pieces: Sequence[Piece],
    granularity_s: int,
    key: Mapping[str, object],
) -> Query[BucketRow]:
    width = timedelta(seconds=granularity_s)
    parts = _parts(pieces, has_late=f"{LATE}_ts" in key)
    return Query(tuple, build(series, parts), {**key, **_ends(pieces), "width": width})


def points_at_most(
    series: Series, request: HistoryRequest, key: Mapping[str, object] = NO_KEY
) -> Query[tuple[Decimal]]:
    """Select an upper bound of a history's points: sparse samples yield fewer than the buckets in the range.

    A bucket of the summary yields at most as many points as it has samples, or as fit into it; but a sample
    of a slower meter gives energy to all slots of its wide slot.
    """
    width_s = max(series.resolutions_s)
    piece = Piece(width_s, _down(request.start_us, width_s), request.end_us)
    most_each = points_per_bucket(width_s, request.granularity_s)
    points = literal(1) if request.aggregate == "sum" else _points_per_sample(series, request.granularity_s)
    counted = _query(partial(_points_at_most, most_each, points), series, [piece], request.granularity_s, key)
    return Query(tuple, counted.statement, counted.values)


def _points_at_most(
    most_each: int, points_per_sample: ColumnElement[int], series: Series, parts: PieceShapes
) -> Relation:
    [part], table = parts, series.buckets
    most = func.greatest(most_each, points_per_sample)
    of_ven = (
        select(table.c.bucket, func.sum(table.c.samples).label("samples"))
        .where(
            table.c.resolution_s == part.resolution_s,
            *of_entity(series, table),
            *_within(table.c.bucket, part),
        )
        .group_by(table.c.bucket, *(table.c[name] for name in series.by))
    )
    of_vens = of_each_member(series, of_ven).subquery("of_vens")
    is_apart = series.members is not None and not series.adds_members
    buckets = (
        of_vens
        if is_apart
        else select(func.sum(of_vens.c.samples).label("samples")).group_by(of_vens.c.bucket).subquery("each")
    )
    stored = select(func.sum(func.least(buckets.c.samples * points_per_sample, most)))
    pending = _pending_states(series, part, WIDTH).subquery()
    new_buckets = pending.c.bucket if is_apart else pending.c.bucket.distinct()
    new = select(func.count(new_buckets) * points_per_sample)
    return select(func.coalesce(stored.scalar_subquery(), 0) + new.scalar_subquery())


def _points_per_sample(series: Series, granularity_s: int) -> ColumnElement[int]:
    of_ven = [slot_widths.c.ven_id == bindparam("ven_id")] if "ven_id" in series.of else []
    widest_s = select(func.max(slot_widths.c.width_s)).where(*of_ven).scalar_subquery()
    return func.greatest(1, widest_s / granularity_s)


def _down(us: int | None, width_s: int) -> int | None:
    return None if us is None else us - us % (width_s * MICROSECONDS_PER_S)


def _up(us: int | None, width_s: int) -> int | None:
    return None if us is None else us + -us % (width_s * MICROSECONDS_PER_S)


def late_extent(
    series: Series, request: HistoryRequest, late: Mapping[str, object], key: Mapping[str, object] = NO_KEY
) -> Query[tuple[datetime | None, datetime | None, int]]:
    """Select the first and the last instant of late rows, and an upper bound of the points that they add."""
    points = literal(1) if request.aggregate == "sum" else _points_per_sample(series, request.granularity_s)
    width = timedelta(seconds=request.granularity_s)
    return Query(tuple, _late_extent(series, points), {**key, **late, "width": width})


def _late_extent(series: Series, points_per_sample: ColumnElement[int]) -> Relation:
    """Select the extent of late rows, and their buckets of each entity times the points of a sample.

    Citus plans a sub-query beside columns, not beside aggregates.
    """
    rows = late_queries.late_rows(series.raw, series.of, series.by, series.members).subquery("late")
    keys = [rows.c[name] for name in _shown_keys(series)]
    instants = select(func.min(rows.c.ts).label("first"), func.max(rows.c.ts).label("last"))
    each = instants.group_by(floor(rows.c.ts, WIDTH), *keys).subquery("each")
    all_of = select(
        func.min(each.c.first).label("first"),
        func.max(each.c.last).label("last"),
        func.count().label("buckets"),
    )
    found = all_of.select_from(each).subquery("found")
    return select(found.c.first, found.c.last, found.c.buckets * points_per_sample)


def sums(series: Series, request: HistoryRequest, key: Mapping[str, object] = NO_KEY) -> Query[BucketRow]:
    """Select `bucket`, the sums of its samples, kW, and the keys of entities; oldest first."""
    pieces = plan(request, series.resolutions_s)
    values = {**_archived_values(series, request, pieces, key), **_late_values(series, request, pieces, key)}
    return _query(_sums, series, pieces, request.granularity_s, {**key, **values})


def energies(series: Series, request: HistoryRequest, key: Mapping[str, object] = NO_KEY) -> Query[BucketRow]:
    """Select `bucket`, its used and shed energy, kWh, the hours of its slots with samples, and the keys."""
    pieces = plan(request, [SLOT_S])
    values = {**_archived_values(series, request, pieces, key), **_late_values(series, request, pieces, key)}
    return _query(_energies, series, pieces, request.granularity_s, {**key, **values})


def _archived_values(
    series: Series, request: HistoryRequest, pieces: Sequence[Piece], key: Mapping[str, object]
) -> dict[str, object]:
    """Return the archived rows of pieces, each column as an array."""
    values: dict[str, object] = {}
    for number, piece in enumerate(pieces):
        if piece.is_archived and request.archive is not None and piece.end_us is not None:
            rows = request.archive.rows(series.raw.name, piece.start_us, piece.end_us, key)
            values |= {f"archived_{number}_{column}": rows[column] for column in _columns_of(series)}
    return values


def _late_values(
    series: Series, request: HistoryRequest, pieces: Sequence[Piece], key: Mapping[str, object]
) -> dict[str, object]:
    """Return the late rows in the wide slots of closed pieces, each column as an array, if there are any."""
    closed = [piece for piece in pieces if piece.is_closed]
    if request.archive is None or not request.archive.has_late or not closed:
        return {}
    start_us, end_us = _down(closed[0].start_us, slots.WIDEST_S), _up(closed[-1].end_us, slots.WIDEST_S)
    late = request.archive.late_values(start_us, end_us)
    if late is None:
        return {}
    query = late_queries.late_rows(series.raw, series.of, series.by, series.members)
    rows = request.archive.new_rows(series.raw.name, Query(tuple, query, {**key, **late}))
    return {} if rows is None else {f"{LATE}_{column}": rows[column] for column in _columns_of(series)}


def _columns_of(series: Series) -> dict[str, ColumnType]:
    """Return the columns of raw rows that the series needs for states."""
    return {name: kind for name, kind in ARCHIVED.items() if name in series.raw.c}


@lru_cache(maxsize=STATEMENTS)
def _sums(series: Series, parts: PieceShapes) -> Relation:
    states = _states(series, parts, WIDTH).subquery()
    keys = [states.c[column] for column in _shown_keys(series)]
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
def _energies(series: Series, parts: PieceShapes) -> Relation:
    each_slot = (_network_slots(parts) if series is NETWORK else _entity_slots(series, parts)).subquery()
    bucket = floor(each_slot.c.slot, WIDTH).label("bucket")
    hours = func.count(each_slot.c.slot.distinct()) * slots.SLOT_HOURS
    keys = [each_slot.c[column] for column in _shown_keys(series)]
    return (
        select(
            bucket,
            func.sum(each_slot.c.used_kwh).label("used_energy_kwh"),
            func.sum(each_slot.c.shed_kwh).label("shed_energy_kwh"),
            hours.label("hours"),
            *keys,
        )
        .group_by(bucket, *keys)
        .order_by(bucket, *keys)
    )


def _shown_keys(series: Series) -> tuple[str, ...]:
    """Return the keys of the entities in the result."""
    return () if series.adds_members else series.by


def _network_slots(parts: PieceShapes) -> Union:
    """Select energy by slot: stored, but computed for slots with newer VEN history or cut by an edge."""
    selects: list[Relation] = []
    for part in parts:
        if part.resolution_s is None:
            selects.append(_slot_energies(VENS, _around(VENS, parts, part), part, []))
        else:
            news = union_all(*_newer_states(part.widened()))
            selects += [_stored_energy(part), _slot_energies(VENS, news, part, [])]
    return union_all(*selects or [_slot_energies(VENS, _nothing(VENS, SLOT), UNBOUNDED, [])])


def _stored_energy(part: PieceShape) -> Relation:
    return select(
        network_energy.c.bucket.label("slot"),
        network_energy.c.used_energy_kwh.label("used_kwh"),
        network_energy.c.shed_energy_kwh.label("shed_kwh"),
    ).where(*_within(network_energy.c.bucket, part), network_energy.c.bucket.not_in(_newer_slots(part)))


def _newer_states(part: PieceShape) -> list[Relation]:
    stored = _bucket_states(VENS, part, SLOT, ven_history.c.bucket.in_(_newer_slots(part)))
    late = [_late_states(VENS, part, SLOT)] if part.has_late else []
    return [stored, *late] if part.is_closed else [stored, _pending_states(VENS, part, SLOT)]


def _newer_slots(part: PieceShape) -> Relation:
    """Select slots whose stored energy may be older than their samples."""
    pending = select(floor(ven_telemetry.c.ts, SLOT)).where(*is_pending(ven_telemetry, "history"))
    late = [select(floor(_rows_of_arrays(VENS, LATE).c.ts, SLOT))] if part.has_late else []
    either = union(select(stale_slots.c.bucket.label("slot")), pending, *late).subquery("news")
    return slots.sharing_energy(either)


def _entity_slots(series: Series, parts: PieceShapes) -> Union:
    """Select energy by slot: whole slots by all samples of the wide slot, cut ones by those in range."""
    selects = []
    for part in parts:
        states = _around(series, parts, part) if part.resolution_s is None else _whole(series, part)
        selects.append(_slot_energies(series, states, part, series.by))
    return union_all(*selects or [_slot_energies(series, _nothing(series, SLOT), UNBOUNDED, series.by)])


def _whole(series: Series, part: PieceShape) -> Union:
    """Select states of the wide slots that a part overlaps, including their time outside the part."""
    return _states(series, (part.widened(),), SLOT)


def _around(series: Series, parts: PieceShapes, part: PieceShape) -> Union:
    """Select states of the whole range that lie in the same wide slots as a part."""
    return _states(series, tuple(each.near(part) for each in parts), SLOT)


def _slot_energies(
    series: Series, states: Relation | Union, part: PieceShape, names: Sequence[str]
) -> Relation:
    """Select each entity's energy in slots that begin in a part, or are cut by it, with the named keys."""
    ven_id: BindParameter[str] | None = bindparam("ven_id") if "ven_id" in series.of else None
    means = slots.slot_means(states.subquery("states"), series.by, ven_id)
    energies = [slots.energy_kwh(means.c[f"{name}_kw"]).label(f"{name}_kwh") for name in slots.QUANTITIES]
    begins = structs.replace(part, begins_s=SLOT_S) if part.resolution_s is None else part
    columns = [means.c[name] for name in names]
    return select(means.c.slot, *energies, *columns).where(*_within(means.c.slot, begins))


def _states(series: Series, pieces: PieceShapes, width: Width) -> Union:
    """Select mergeable states of the pieces, in buckets of a width; several rows may share a bucket."""
    stored = [_stored_states(series, piece, width) for piece in pieces]
    pending = [_pending_states(series, each, width) for each in _stretches(pieces, attrgetter("has_pending"))]
    late = [_late_states(series, each, width) for each in _stretches(pieces, attrgetter("has_late"))]
    return union_all(*stored, *pending, *late) if pieces else union_all(_nothing(series, width))


def _stored_states(series: Series, piece: PieceShape, width: Width) -> Relation:
    if piece.resolution_s is not None:
        return _bucket_states(series, piece, width)
    if piece.archived is not None:
        return _archived_states(series, piece, width, piece.archived)
    return _stored_raw_states(series, piece, width)


def _archived_states(series: Series, piece: PieceShape, width: Width, archived: str) -> Relation:
    """Select states of archived rows, which are parameters, instead of the raw table."""
    return _raw_states(series, piece, width, raw=_rows_of_arrays(series, archived))


def _late_states(series: Series, piece: PieceShape, width: Width) -> Relation:
    """Select states of late rows, which the summary does not contain yet."""
    return _raw_states(series, piece, width, raw=_rows_of_arrays(series, LATE))


def _rows_of_arrays(series: Series, prefix: str) -> FromClause:
    """Return rows whose columns are parameters: arrays in text.

    They are a sub-query, since Citus mistakes the columns of an `unnest` of several arrays that is joined.
    """
    columns = _columns_of(series)
    texts = {name: bindparam(f"{prefix}_{name}", type_=Text()) for name in columns}
    arrays = [cast(texts[name], ARRAY(kind)) for name, kind in columns.items()]
    named = (column(name, kind) for name, kind in columns.items())
    return select(func.unnest(*arrays).table_valued(*named).render_derived()).subquery()


def _stretches(pieces: PieceShapes, is_searched: Callable[[PieceShape], bool]) -> Iterator[PieceShape]:
    """Join adjacent pieces with pending or late rows, so that these are searched once for each stretch."""
    for is_one, group in groupby(pieces, is_searched):
        if is_one:
            stretch = list(group)
            yield structs.replace(stretch[0], resolution_s=None, end=stretch[-1].end)


def _nothing(series: Series, width: Width) -> Relation:
    """Select no rows, for a range of which nothing is kept. Citus joins no `WHERE false` on PostgreSQL 15."""
    return _bucket_states(series, UNBOUNDED, width).limit(0)


def _stored_raw_states(series: Series, piece: PieceShape, width: Width) -> Relation:
    """Select states of stored raw rows; days are constants, as parameters would open all partitions."""
    days, ts = [], series.raw.c.ts
    if piece.start is not None:
        days.append(ts >= constant(piece.start))
    if piece.end is not None:
        days.append(ts < constant(piece.end))
    return _raw_states(series, piece, width, *days)


def _raw_states(
    series: Series,
    piece: PieceShape,
    width: Width,
    *conditions: ColumnElement[bool],
    raw: FromClause | None = None,
) -> Relation:
    """Select states of raw rows, by default of the series' table."""
    source = series.raw if raw is None else raw
    keys = [source.c[name] for name in series.by]
    states = select(
        floor(source.c.ts, width).label("bucket"),
        *keys,
        func.coalesce(source.c.used_power_kw, 0.0).label("used_sum"),
        case((source.c.used_power_kw.is_not(None), 1), else_=0).label("used_samples"),
        func.coalesce(source.c.shed_power_kw, 0.0).label("shed_sum"),
        case((source.c.shed_power_kw.is_not(None), 1), else_=0).label("shed_samples"),
    ).where(*of_entity(series, source), *_within(source.c.ts, piece), *conditions)
    merged = _grouped_by_member(series, states)
    return merged if raw is not None else of_each_member(series, merged)  # parameters have no index


def _pending_states(series: Series, piece: PieceShape, width: Width) -> Relation:
    """Select states of pending rows: those of batches that the lane has not consumed yet."""
    return _raw_states(series, piece, width, *is_pending(series.raw, series.lane))


def _bucket_states(
    series: Series, piece: PieceShape, width: Width, *conditions: ColumnElement[bool]
) -> Relation:
    table, keys = series.buckets, [series.buckets.c[column] for column in series.by]
    states = select(
        floor(table.c.bucket, width).label("bucket"),
        *keys,
        table.c.used_power_kw_sum.label("used_sum"),
        table.c.used_samples,
        table.c.shed_power_kw_sum.label("shed_sum"),
        table.c.shed_samples,
    ).where(
        table.c.resolution_s == piece.resolution_s,
        *of_entity(series, table),
        *_within(table.c.bucket, piece),
        *conditions,
    )
    return of_each_member(series, _grouped_by_member(series, states))


def _grouped_by_member(series: Series, states: Relation) -> Relation:
    """Merge states of members, each bucket once."""
    if series.members is None:
        return states
    columns = list(states.selected_columns)
    place = 1 + len(series.by)
    sums = [func.sum(column).label(column.name) for column in columns[place:]]
    return states.with_only_columns(*columns[:place], *sums).group_by(*columns[:place])


def _within(instant: ColumnElement[datetime], part: PieceShape) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if part.start is not None:
        conditions.append(instant >= _border(part.start, part.begins_s))
    if part.end is not None:
        conditions.append(instant < _border(part.end, part.ends_s, up=True))
    return conditions if part.beside is None else [*conditions, *_within(instant, part.beside)]


def _border(name: str, width_s: int | None, *, up: bool = False) -> ColumnElement[datetime]:
    """Return a parameter, or the border of slots of a width before or after it."""
    at: ColumnElement[datetime] = bindparam(name, type_=DateTime(timezone=True))
    if width_s is None:
        return at
    width = timedelta(seconds=width_s)
    return floor(at + literal(width - MICROSECOND) if up else at, literal(width))
