"""The SQL that selects the VENs, groups or loads of a request for histories."""

from collections.abc import Sequence
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Select, select

from schemas.db.queries import Query
from schemas.demand_response.groups import load_type, members_of
from schemas.devices.load_values import with_settings
from schemas.tables.registry import groups, vens
from schemas.tables.snapshots import load_snapshots


def registered_vens() -> Select[str]:
    """Select `ven_id` of all VENs that are not retired, by id."""
    return select(vens.c.ven_id).where(vens.c.retired_at.is_(None)).order_by(vens.c.ven_id)


def registered_members(group_id: str, gone_after: timedelta | None) -> Select[str]:
    """Select `ven_id` of a group's members that are not retired, by id."""
    return registered_vens().where(vens.c.ven_id.in_(members_of([group_id], gone_after)))


def named_vens(ven_ids: Sequence[str]) -> Select[str]:
    """Select `ven_id` of the given VENs that are registered, by id."""
    return registered_vens().where(vens.c.ven_id.in_(ven_ids))


def group_ids() -> Select[str]:
    return select(groups.c.group_id).order_by(groups.c.group_id)


class TypedLoadRow(NamedTuple):
    """A load, with its type as responses show it."""

    ven_id: str
    load_id: str
    load_type: str


def typed_loads(load_types: Sequence[str]) -> Query[TypedLoadRow]:
    """Select the loads of some types, or of all, including loads that are gone."""
    loads = (
        select(load_snapshots.c.ven_id, load_snapshots.c.load_id, load_type().label("load_type"))
        .select_from(with_settings().join(vens, vens.c.ven_id == load_snapshots.c.ven_id))
        .where(vens.c.retired_at.is_(None))
        .order_by(load_snapshots.c.ven_id, load_snapshots.c.load_id)
    )
    return Query(TypedLoadRow, loads.where(load_type().in_(load_types)) if load_types else loads)


def load_types() -> Select[str]:
    """Select the existing load types."""
    loads = typed_loads(()).statement.order_by(None).subquery()
    return select(loads.c.load_type).distinct().order_by(loads.c.load_type)
