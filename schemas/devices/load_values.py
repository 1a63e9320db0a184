"""The current values of a load, and the shed capability of loads and VENs: one rule for jobs and serving.

A field set by people overrides the VEN's latest value. `latest` has the columns of `load_snapshots` that an
expression needs; every expression needs `with_settings(latest)` as FROM, as it reads `loads`, too.

A load that is gone is in no list and no total; its history stays. It is gone
- when people have removed it (`loads.removed_ts`), until a message about it with a later device time;
- when its newest device time lags further than a limit behind that of its VEN's newest report: it was
  renamed, or no longer exists. Only a report moves that limit, so a VEN that is silent loses no load, and a
  VEN without telemetry none at all.

Both compare stored device times, so a rebuilt summary gives the same result.
"""

from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Interval,
    Select,
    and_,
    case,
    cast,
    false,
    func,
    literal,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import Insert, insert

from schemas.db.queries import Union
from schemas.tables.registry import loads
from schemas.tables.snapshots import load_snapshots, ven_snapshots

GONE_AFTER = timedelta(hours=24)
GENERATING = ("solar", "pv", "wind", "generator")
"""Load types that only generate: they cannot use more."""


def with_settings(latest: FromClause = load_snapshots) -> FromClause:
    """Join the latest values of loads with the values set by people."""
    of_load = and_(loads.c.ven_id == latest.c.ven_id, loads.c.load_id == latest.c.load_id)
    return latest.outerjoin(loads, of_load)


def effective(field: str, latest: FromClause = load_snapshots) -> ColumnElement[object]:
    """The value set by people for a load; else its VEN's."""
    return func.coalesce(loads.c[field], latest.c[field])


def shed_capability_kw(latest: FromClause = load_snapshots) -> ColumnElement[float]:
    """The shed capability of a load: the reported one, else the power that it sheds now; never below 0."""
    reported_kw = func.coalesce(effective("shed_capability_kw", latest), latest.c.shed_power_kw, 0.0)
    return func.greatest(reported_kw, 0.0)


def capacity_kw(latest: FromClause = load_snapshots) -> ColumnElement[float]:
    """A load's capacity: the reported one, else usage and shed capability together; never below 0."""
    estimated_kw = func.coalesce(latest.c.used_power_kw, 0.0) + shed_capability_kw(latest)
    return func.greatest(func.coalesce(effective("capacity_kw", latest), estimated_kw), 0.0)


def is_enabled(latest: FromClause = load_snapshots) -> ColumnElement[bool]:
    """Whether a load may be controlled now; true by default."""
    return func.coalesce(effective("enabled", latest), true())


def is_gone(
    gone_after: timedelta | None, ven_ts: ColumnElement[datetime], latest: FromClause = load_snapshots
) -> ColumnElement[bool]:
    """The condition that a load is gone from the latest values.

    Args:
        gone_after: how far a load's newest device time may lie behind its VEN's; None for any distance.
        ven_ts: device time of the newest report of the load's VEN; null without any.
        latest: with the column `ts`, the load's newest device time.
    """
    is_removed = func.coalesce(latest.c.ts <= loads.c.removed_ts, false())
    if gone_after is None:
        return is_removed
    return or_(is_removed, func.coalesce(latest.c.ts < ven_ts - _interval(gone_after), false()))


def _interval(width: timedelta) -> ColumnElement[timedelta]:
    """A typed interval: `timestamptz - $1` alone would be the difference of two instants."""
    return cast(width, Interval)


def newest_report() -> Select[datetime | None]:
    """Select the newest device time of any VEN's reports; null without any."""
    return select(func.max(ven_snapshots.c.ts))


def gone_loads(gone_after: timedelta | None, newest_ts: datetime | None = None) -> Union:
    """Select all loads of the fleet that are gone: `ven_id`, `load_id`.

    For statements over the whole fleet: comparing each of 80,000 loads with its VEN takes twice the time.

    Args:
        gone_after: as for `is_gone`.
        newest_ts: the result of `newest_report`, if it is known: then the planner knows that few loads lie
            so far behind it, and does not build a hash table of all loads.
    """
    latest = load_snapshots.c
    removed = (
        select(latest.ven_id, latest.load_id)
        .join(loads, and_(loads.c.ven_id == latest.ven_id, loads.c.load_id == latest.load_id))
        .where(loads.c.removed_ts.is_not(None), latest.ts <= loads.c.removed_ts)
    )
    if gone_after is None:
        return union_all(removed)
    newest = newest_report().scalar_subquery() if newest_ts is None else literal(newest_ts)
    behind = (
        select(latest.ven_id, latest.load_id)
        .join(ven_snapshots, ven_snapshots.c.ven_id == latest.ven_id)
        .where(
            latest.ts < newest - _interval(gone_after),  # for nearly all loads this is the only comparison
            latest.ts < ven_snapshots.c.ts - _interval(gone_after),
        )
    )
    return union_all(removed, behind)


def sheddable_kw(
    ven_id: ColumnElement[str], ven_ts: ColumnElement[datetime], gone_after: timedelta | None
) -> Select[float | None]:
    """Select the shed capability of a VEN's loads, `shed_kw`: for a scalar or lateral subquery.

    Disabled loads add nothing. Null if the VEN has no loads: it counts as one, with its shed power.
    """
    shed_kw = func.sum(case((is_enabled(), shed_capability_kw()), else_=0.0)).label("shed_kw")
    return (
        select(shed_kw)
        .select_from(with_settings())
        .where(load_snapshots.c.ven_id == ven_id, ~is_gone(gone_after, ven_ts))
    )


def headroom_kw(
    ven_id: ColumnElement[str], ven_ts: ColumnElement[datetime], gone_after: timedelta | None
) -> Select[float | None]:
    """Select what a VEN's loads could use more than now, `shed_kw`, like `sheddable_kw` for less.

    Capacity less usage of the loads that may be controlled; generators add nothing.
    """
    used_kw = func.greatest(func.coalesce(load_snapshots.c.used_power_kw, 0.0), 0.0)
    generates = func.lower(func.coalesce(effective("load_type"), "")).in_(GENERATING)
    more_kw = func.greatest(capacity_kw() - used_kw, 0.0)
    headroom = func.sum(case((and_(is_enabled(), ~generates), more_kw), else_=0.0)).label("shed_kw")
    return (
        select(headroom)
        .select_from(with_settings())
        .where(load_snapshots.c.ven_id == ven_id, ~is_gone(gone_after, ven_ts))
    )


def remove_load(ven_id: str, load_id: str, up_to: datetime, now: datetime) -> Insert:
    """Remove a load from the latest values until a sample with a device time after `up_to`.

    `up_to` is the newest stored device time of the VEN, consumed by a lane or not: messages that were in
    transit when the load was removed do not restore it.
    """
    statement = insert(loads).values(ven_id=ven_id, load_id=load_id, removed_ts=up_to, updated_at=now)
    removed_ts = func.greatest(loads.c.removed_ts, statement.excluded.removed_ts)
    return statement.on_conflict_do_update(
        index_elements=["ven_id", "load_id"],
        set_={"removed_ts": removed_ts, "updated_at": statement.excluded.updated_at},
    )
