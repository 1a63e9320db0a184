"""Sums over latest values of VENs and loads: of the network for jobs, of a group's members for serving."""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, and_, exists, func, select
from sqlalchemy.sql.elements import CollectionAggregate

from schemas.db.queries import Relation
from schemas.devices.load_values import (
    capacity_kw,
    effective,
    gone_loads,
    is_enabled,
    is_gone,
    shed_capability_kw,
    with_settings,
)
from schemas.devices.statuses import UNAVAILABLE
from schemas.tables.registry import vens
from schemas.tables.snapshots import load_snapshots, ven_snapshots


def ven_sums(gone_after: timedelta | None, members: CollectionAggregate[bool] | None = None) -> Relation:
    """Select counts and sums over VENs that are not retired, by their latest status, else the registered one.

    Args:
        gone_after: how far a load's newest device time may lie behind its VEN's; None for any distance.
        members: the right side of `ven_id =`; None for all VENs.
    """
    latest = ven_snapshots.c
    # Checked per VEN, and only where it matters: for all VENs it takes as long as reading their loads.
    a_load = (
        select(load_snapshots.c.load_id)
        .select_from(with_settings())
        .where(load_snapshots.c.ven_id == vens.c.ven_id, ~is_gone(gone_after, latest.ts))
        .limit(1)
        .correlate(vens, ven_snapshots)
    )
    is_whole = and_(latest.shed_power_kw != 0, a_load.scalar_subquery().is_(None))
    shed_kw = func.sum(latest.shed_power_kw)
    status = func.coalesce(latest.status, vens.c.status).label("status")
    return (
        select(
            status,
            func.count().label("vens"),
            func.count(latest.ts).label("reporting_vens"),
            func.coalesce(func.sum(latest.used_power_kw), 0.0).label("used_power_kw"),
            func.coalesce(shed_kw, 0.0).label("shed_power_kw"),
            func.coalesce(shed_kw.filter(is_whole), 0.0).label("whole_shed_power_kw"),
        )
        .select_from(vens.outerjoin(ven_snapshots, latest.ven_id == vens.c.ven_id))
        .where(vens.c.retired_at.is_(None), *_among(vens.c.ven_id, members))
        .group_by(status)
    )


def load_sums(
    gone_after: timedelta | None,
    members: CollectionAggregate[bool] | None = None,
    newest_ts: datetime | None = None,
) -> Relation:
    """Select sums over latest values of loads by type, and by whether they may be controlled now.

    Generation is not negative usage: an exporting load adds nothing to it.

    Args:
        gone_after: as above.
        members: as above.
        newest_ts: as for `gone_loads`.
    """
    used_kw = func.greatest(func.coalesce(load_snapshots.c.used_power_kw, 0.0), 0.0)
    # Only the few exceptional VENs are joined: a hash lookup for each load.
    is_unreachable = ven_snapshots.c.status.in_(UNAVAILABLE)
    unreachable = select(ven_snapshots.c.ven_id).where(is_unreachable).subquery("unreachable")
    gone = gone_loads(gone_after, newest_ts).subquery("gone")
    is_retired = exists().where(vens.c.ven_id == load_snapshots.c.ven_id, vens.c.retired_at.is_not(None))
    groups = (
        effective("load_type").label("load_type"),
        is_enabled().label("enabled"),
        unreachable.c.ven_id.is_(None).label("controllable"),
    )
    return (
        select(
            *groups,
            func.sum(capacity_kw()).label("capacity_kw"),
            func.sum(shed_capability_kw()).label("shed_capability_kw"),
            func.sum(used_kw).label("usage_kw"),
        )
        .select_from(with_settings())
        .outerjoin(unreachable, unreachable.c.ven_id == load_snapshots.c.ven_id)
        .outerjoin(
            gone, and_(gone.c.ven_id == load_snapshots.c.ven_id, gone.c.load_id == load_snapshots.c.load_id)
        )
        .where(~is_retired, gone.c.ven_id.is_(None), *_among(load_snapshots.c.ven_id, members))
        .group_by(*groups)
    )


def _among(
    ven_id: ColumnElement[str], members: CollectionAggregate[bool] | None
) -> list[ColumnElement[bool]]:
    return [] if members is None else [ven_id == members]
