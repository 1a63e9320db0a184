"""The current values of a load, and the shed capability of loads and VENs: one rule for jobs and serving.

Where people have set a field, theirs counts, else what the VEN said last. `latest` has the columns of
`load_snapshots`, as far as an expression needs them; every expression wants `with_settings(latest)` as its
FROM, for it reads `loads`, too.

A load that has left the latest values is in no list and in no total; its history stays. It has left

- when people have removed it (`loads.removed_ts`), until a message on it that is later by device time;
- when its newest device time lies further than a limit behind that of its VEN's newest report: it was
  renamed, or no longer exists. Only a report moves that limit, so a VEN that is silent loses no load, and a
  VEN without telemetry none at all.

Both compare device times that are stored, so a summary that was rebuilt says the same.
"""

from datetime import datetime, timedelta
from typing import Any

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
"""Types of load that only generate: they cannot use more."""


def with_settings(latest: FromClause = load_snapshots) -> FromClause:
    """The latest values of loads, each with what people have set for it."""
    of_load = and_(loads.c.ven_id == latest.c.ven_id, loads.c.load_id == latest.c.load_id)
    return latest.outerjoin(loads, of_load)


def effective(field: str, latest: FromClause = load_snapshots) -> ColumnElement[Any]:
    """The value that people have set for a load; else its VEN's."""
    return func.coalesce(loads.c[field], latest.c[field])


def shed_capability_kw(latest: FromClause = load_snapshots) -> ColumnElement[float]:
    """What a load could shed: the reported capability, else what it sheds now; never below 0."""
    reported_kw = func.coalesce(effective("shed_capability_kw", latest), latest.c.shed_power_kw, 0.0)
    return func.greatest(reported_kw, 0.0)


def capacity_kw(latest: FromClause = load_snapshots) -> ColumnElement[float]:
    """A load's capacity: the reported one, else usage and shed capability together; never below 0."""
    estimated_kw = func.coalesce(latest.c.used_power_kw, 0.0) + shed_capability_kw(latest)
    return func.greatest(func.coalesce(effective("capacity_kw", latest), estimated_kw), 0.0)


def is_enabled(latest: FromClause = load_snapshots) -> ColumnElement[bool]:
    """Whether a load may be controlled now; by default it may."""
    return func.coalesce(effective("enabled", latest), true())


def is_gone(
    gone_after: timedelta | None, ven_ts: ColumnElement[datetime], latest: FromClause = load_snapshots
) -> ColumnElement[bool]:
    """Whether a load has left the latest values.

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
    """A typed interval: `timestamptz - $1` alone would be a difference of two instants."""
    return cast(width, Interval)


def gone_loads(gone_after: timedelta | None) -> Union:
    """All loads of the fleet of which `is_gone` is true: `ven_id`, `load_id`.

    For statements over the whole fleet: to compare each of 80,000 loads with its VEN takes twice the time.
    """
    latest = load_snapshots.c
    removed = (
        select(latest.ven_id, latest.load_id)
        .join(loads, and_(loads.c.ven_id == latest.ven_id, loads.c.load_id == latest.load_id))
        .where(loads.c.removed_ts.is_not(None), latest.ts <= loads.c.removed_ts)
    )
    if gone_after is None:
        return union_all(removed)
    newest_ts = select(func.max(ven_snapshots.c.ts)).scalar_subquery()
    behind = (
        select(latest.ven_id, latest.load_id)
        .join(ven_snapshots, ven_snapshots.c.ven_id == latest.ven_id)
        .where(
            latest.ts < newest_ts - _interval(gone_after),  # of nearly all loads this is all that is compared
            latest.ts < ven_snapshots.c.ts - _interval(gone_after),
        )
    )
    return union_all(removed, behind)


def sheddable_kw(
    ven_id: ColumnElement[str], ven_ts: ColumnElement[datetime], gone_after: timedelta | None
) -> Select[float | None]:
    """What the loads of a VEN could shed now, `shed_kw`: for a scalar or lateral subquery.

    Disabled loads add nothing. Null where the VEN has no loads: it counts as one, with what it sheds now.
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
    """What the loads of a VEN could use more than now, `shed_kw`, as `sheddable_kw` of less.

    Capacity less usage of the loads that may be controlled; what generates adds nothing.
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
    """Take a load out of the latest values until a sample that is later than `up_to`, by device time.

    `up_to` is the newest device time that is stored of the VEN, whether or not a lane has consumed it: what
    was on its way when somebody removed the load does not bring it back.
    """
    statement = insert(loads).values(ven_id=ven_id, load_id=load_id, removed_ts=up_to, updated_at=now)
    removed_ts = func.greatest(loads.c.removed_ts, statement.excluded.removed_ts)
    return statement.on_conflict_do_update(
        index_elements=["ven_id", "load_id"],
        set_={"removed_ts": removed_ts, "updated_at": statement.excluded.updated_at},
    )
