"""The SQL of how far a series reaches: its first and its last instant."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import ColumnElement, func, literal, select, union_all

from schemas.db.queries import Query, Relation
from schemas.times.instants import MICROSECOND
from serving.history.series import NO_KEY, Series, is_pending, of_each_member, of_entity


def extent(
    series: Series, key: Mapping[str, object] = NO_KEY
) -> Query[tuple[datetime | None, datetime | None]]:
    """Select the first and the last instant of stored buckets and pending rows."""
    return Query(tuple, _extent(series), key)


@cache
def _extent(series: Series) -> Relation:
    stored = [
        each for resolution_s in series.resolutions_s for each in _edges_of_buckets(series, resolution_s)
    ]
    pending = _extentof_each_member(series, _pending_instants(series))
    every = union_all(*stored, pending).subquery()
    return select(func.min(every.c.first), func.max(every.c.last))


def _edges_of_buckets(series: Series, resolution_s: int) -> Iterator[Relation]:
    """Select the first and then the last bucket of each entity, each as an extent.

    Samples lie anywhere in the finest bucket; coarser ones count at their start.
    """
    table = series.buckets
    end: ColumnElement[datetime] = table.c.bucket
    if resolution_s == min(series.resolutions_s):
        end += literal(timedelta(seconds=resolution_s) - MICROSECOND)
    keys = [table.c[name] for name in series.by]
    buckets = select(table.c.bucket.label("first"), end.label("last"), *keys)
    in_buckets = buckets.where(table.c.resolution_s == resolution_s, *of_entity(series, table)).limit(1)
    for edge in (table.c.bucket, table.c.bucket.desc()):
        yield _extentof_each_member(series, in_buckets.order_by(edge))


def _extentof_each_member(series: Series, rows: Relation) -> Relation:
    """Select the extent of rows with `first`, `last` and the keys, for each member.

    Citus plans a limit for each member only below a group.
    """
    of_one = rows if series.members is None else rows.correlate(series.members)
    edges = of_one.subquery("edges")
    extent = select(func.min(edges.c.first).label("first"), func.max(edges.c.last).label("last"))
    return of_each_member(series, extent.group_by(*(edges.c[name] for name in series.by)))


def _pending_instants(series: Series) -> Relation:
    raw = series.raw
    keys = [raw.c[name] for name in series.by]
    instants = select(raw.c.ts.label("first"), raw.c.ts.label("last"), *keys)
    return instants.where(*of_entity(series, raw), *is_pending(raw, series.lane))
