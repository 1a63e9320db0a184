"""The SQL of forecasts: stale half hours by load type, their inputs, and the current loads."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import (
    ColumnElement,
    Delete,
    Double,
    Select,
    Subquery,
    Table,
    and_,
    case,
    cast,
    delete,
    func,
    literal,
    null,
    or_,
    select,
    union,
    union_all,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.dml import ReturningDelete

from schemas.db.queries import Relation
from schemas.demand_response.groups import load_type
from schemas.demand_response.participation_times import participations
from schemas.devices.load_values import effective, is_enabled, is_gone, with_settings
from schemas.tables.forecasts import (
    HALF_HOUR,
    load_type_forecasts,
    load_type_half_hours,
    stale_half_hours,
)
from schemas.tables.history import SLOT_S, load_history, network_energy
from schemas.tables.raw import ven_load_descriptions, ven_load_samples
from schemas.tables.registry import loads, vens
from schemas.tables.snapshots import load_snapshots, ven_snapshots
from schemas.times.slots import floor, mean_kw
from schemas.times.time_ranges import TimeRange

KEYS = ("ven_id", "load_id", "half_hour")
NO_POWER: ColumnElement[float] = cast(null(), Double)


def take_stale(since: datetime, until: datetime, most: int) -> ReturningDelete[datetime]:
    """Claim stale half hours that begin in a range, newest first: delete their marks and return them.

    Concurrent sessions that mark one wait for this transaction, which waits for uncommitted marks.
    """
    bucket = stale_half_hours.c.bucket
    newest = select(bucket).where(bucket >= since, bucket < until).order_by(bucket.desc()).limit(most)
    some = select(bucket).where(bucket.in_(newest)).order_by(bucket).with_for_update()
    return delete(stale_half_hours).where(bucket.in_(some)).returning(bucket)


def mark_stale(within: TimeRange) -> Insert:
    """Mark as stale the half hours of a range in which any VEN reported, or which have sums."""
    slot, summed = network_energy.c.bucket, load_type_half_hours.c.half_hour
    reported = select(_half_hour(slot)).where(_within(slot, [within]))
    buckets = union(reported, select(summed).where(_within(summed, [within]))).subquery("changed")
    statement = insert(stale_half_hours).from_select(
        ["bucket"], select(buckets.c.half_hour).order_by(buckets.c.half_hour)
    )
    return statement.on_conflict_do_update(
        index_elements=["bucket"], set_={"bucket": statement.excluded.bucket}
    )


def forget(table: Table, before: datetime) -> Delete:
    """Delete half hours before any forecast's history."""
    [at] = (column for column in table.primary_key if column.name in {"half_hour", "bucket"})
    return delete(table).where(at < before)


def count_loads() -> Select[int]:
    return select(func.count()).select_from(load_snapshots)


def clear(half_hours: Sequence[datetime]) -> Delete:
    return delete(load_type_half_hours).where(load_type_half_hours.c.half_hour.in_(half_hours))


def clear_forecast() -> Delete:
    return delete(load_type_forecasts)


def origin() -> Select[datetime | None]:
    """Select the first half hour of the stored forecast; null without one."""
    return select(func.max(load_type_forecasts.c.origin))


def history(before: datetime) -> Relation:
    """Select rows of `load_type_half_hours` for half hours that are over at a time."""
    return select(load_type_half_hours).where(load_type_half_hours.c.half_hour + HALF_HOUR <= before)


def present_loads(heard_since: datetime, gone_after: timedelta | None) -> Relation:
    """Count loads by type: those that report usage, and enabled ones that report their shed capability.

    Args:
        heard_since: loads without newer messages are left out.
        gone_after: how far a load's newest device time may lie behind its VEN's; None for any distance.
    """
    latest = load_snapshots.c
    could_shed = and_(is_enabled(), effective("shed_capability_kw").is_not(None))
    counts = [
        func.count(latest.used_power_kw).label("used_loads"),
        func.count().filter(could_shed).label("shed_loads"),
    ]
    return (
        select(load_type().label("load_type"), *counts)
        .select_from(
            with_settings()
            .join(vens, vens.c.ven_id == latest.ven_id)
            .outerjoin(ven_snapshots, ven_snapshots.c.ven_id == latest.ven_id)
        )
        .where(
            vens.c.retired_at.is_(None), latest.ts >= heard_since, ~is_gone(gone_after, ven_snapshots.c.ts)
        )
        .group_by(load_type())
        .order_by(load_type())
    )


def half_hours_of(ranges: Sequence[TimeRange]) -> Relation:
    """Select rows of `load_type_half_hours` for all half hours of ranges, by the current types of loads.

    Without half hours in which a load's VEN took part in an event.
    """
    each = _by_load(ranges)
    span = participations(TimeRange(ranges[0].start, ranges[-1].end)).subquery("taken").c
    is_taken = (
        select(span.ven_id)
        .where(
            span.ven_id == each.c.ven_id,
            span.start < each.c.half_hour + HALF_HOUR,
            span.end > each.c.half_hour,
        )
        .exists()
    )
    known_kw = func.coalesce(loads.c.shed_capability_kw, each.c.shed_kw)
    shed_kw = case((and_(is_enabled(), known_kw.is_not(None)), func.greatest(known_kw, 0.0)))
    latest = load_snapshots.c
    is_load = and_(latest.ven_id == each.c.ven_id, latest.load_id == each.c.load_id)
    return (
        select(
            load_type().label("load_type"),
            each.c.half_hour,
            func.coalesce(func.sum(each.c.used_kw), 0.0).label("used_kw"),
            func.count(each.c.used_kw).label("used_loads"),
            func.coalesce(func.sum(shed_kw), 0.0).label("shed_kw"),
            func.count(shed_kw).label("shed_loads"),
        )
        .select_from(with_settings().join(each, is_load).join(vens, vens.c.ven_id == latest.ven_id))
        .where(vens.c.retired_at.is_(None), ~is_taken)
        .group_by(load_type(), each.c.half_hour)
        .order_by(load_type(), each.c.half_hour)
    )


def _by_load(ranges: Sequence[TimeRange]) -> Subquery:
    """Select by load and half hour `used_kw`, the mean of five-minute means, and `shed_kw`, a mean, too."""
    values = union_all(
        _usage(ranges), *(_capability(table, ranges) for table in (ven_load_samples, ven_load_descriptions))
    ).subquery("value")
    means = (func.avg(values.c[name]).label(name) for name in ("used_kw", "shed_kw"))
    keys = [values.c[key] for key in KEYS]
    return select(*keys, *means).group_by(*keys).subquery("of_load")


def _usage(ranges: Sequence[TimeRange]) -> Relation:
    slot = load_history.c
    mean = mean_kw(slot.used_power_kw_sum, slot.used_samples)
    return select(
        slot.ven_id, slot.load_id, _half_hour(slot.bucket), mean.label("used_kw"), NO_POWER.label("shed_kw")
    ).where(slot.resolution_s == SLOT_S, slot.used_samples > 0, _within(slot.bucket, ranges))


def _capability(table: Table, ranges: Sequence[TimeRange]) -> Relation:
    entry = table.c
    return select(
        entry.ven_id,
        entry.load_id,
        _half_hour(entry.ts),
        NO_POWER.label("used_kw"),
        entry.shed_capability_kw.label("shed_kw"),
    ).where(entry.shed_capability_kw.is_not(None), _within(entry.ts, ranges))


def _half_hour(instant: ColumnElement[datetime]) -> ColumnElement[datetime]:
    return floor(instant, literal(HALF_HOUR)).label("half_hour")


def _within(instant: ColumnElement[datetime], ranges: Sequence[TimeRange]) -> ColumnElement[bool]:
    return or_(*(and_(instant >= part.start, instant < part.end) for part in ranges))
