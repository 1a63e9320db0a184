"""Objects of OpenADR: one set of statements for all nouns, and those that only one of them has."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Delete,
    Insert,
    Select,
    Table,
    Text,
    Update,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    union,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.sql.dml import ReturningInsert

from schemas.tables.events import LIVE_PARTICIPATIONS, TO_COME, event_participations, events
from schemas.tables.openadr import (
    openadr_events,
    openadr_programs,
    openadr_reports,
    openadr_resources,
    openadr_subscriptions,
    openadr_vens,
    report_inbox,
)
from schemas.tables.registry import groups, vens
from schemas.tables.snapshots import ven_snapshots
from serving.openadr.page import ObjectPage


def listed(table: Table, conditions: Sequence[ColumnElement[bool]], page: ObjectPage) -> Select[Any]:
    """In the order in which they were made."""
    query = select(table).where(*conditions).order_by(table.c.created_at, table.c.object_id)
    return query.offset(page.skip).limit(page.limit)


def one(table: Table, object_id: str, conditions: Sequence[ColumnElement[bool]] = ()) -> Select[Any]:
    return select(table).where(table.c.object_id == object_id, *conditions)


def locked(table: Table, object_id: str, conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    return one(table, object_id, conditions).with_for_update()


def add(table: Table, values: Mapping[str, Any]) -> Insert:
    return insert(table).values(**values)


def change(table: Table, object_id: str, values: Mapping[str, Any]) -> Update:
    return update(table).where(table.c.object_id == object_id).values(**values)


def remove(table: Table, object_id: str) -> Delete:
    return delete(table).where(table.c.object_id == object_id)


def is_untargeted(table: Table) -> ColumnElement[bool]:
    return func.cardinality(table.c.targets) == 0


def has_target(table: Table, targets: Sequence[str]) -> ColumnElement[bool]:
    """Whether an object has one of some targets."""
    return overlaps(table.c.targets, targets)


def overlaps(column: ColumnElement[Any], texts: Sequence[str]) -> ColumnElement[bool]:
    return column.op("&&", is_comparison=True)(literal(list(texts), ARRAY(Text(collation="C"))))


def granted_targets(client_id: str) -> Select[Any]:
    """The targets of a client's VENs and of their resources."""
    of_vens = select(func.unnest(openadr_vens.c.targets).label("target")).where(
        openadr_vens.c.client_id == client_id
    )
    of_resources = select(func.unnest(openadr_resources.c.targets)).where(
        openadr_resources.c.client_id == client_id
    )
    return select(union(of_vens, of_resources).subquery().c.target)


def is_active(now: datetime) -> ColumnElement[bool]:
    """Events that are not over."""
    return or_(openadr_events.c.ends_at.is_(None), openadr_events.c.ends_at > now)


# What goes with what it belongs to


def events_of_program(program_id: str) -> Select[Any]:
    return select(openadr_events).where(openadr_events.c.program_id == program_id)


def reports_of_event(event_object_id: str) -> Select[Any]:
    return select(openadr_reports).where(openadr_reports.c.event_id == event_object_id)


def subscriptions_of_program(program_id: str) -> Select[Any]:
    return select(openadr_subscriptions).where(openadr_subscriptions.c.program_id == program_id)


def resources_of_ven(ven_object_id: str) -> Select[Any]:
    return select(openadr_resources).where(openadr_resources.c.ven_object_id == ven_object_id)


def lock_program(program_id: str) -> Select[Any]:
    """Lock a program against its deletion."""
    return (
        select(openadr_programs.c.object_id)
        .where(openadr_programs.c.object_id == program_id)
        .with_for_update(read=True)
    )


def lock_event(event_object_id: str, conditions: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """Lock an event against its deletion."""
    return one(openadr_events, event_object_id, conditions).with_for_update(read=True)


def vens_of_client(client_id: str) -> Select[Any]:
    return select(openadr_vens).where(openadr_vens.c.client_id == client_id).order_by(openadr_vens.c.ven_id)


def loads_of_vens(ven_object_ids: Sequence[str]) -> Select[Any]:
    """The resources of some VENs, with the loads that they are."""
    resource = openadr_resources.c
    columns = (resource.ven_object_id, resource.resource_name, resource.load_id)
    return select(*columns).where(resource.ven_object_id.in_(ven_object_ids)).order_by(resource.resource_name)


def put_report(values: Mapping[str, Any]) -> Insert:
    return insert(report_inbox).values(**values)


def shares_of_client(client_id: str) -> Select[Any]:
    """What each event that is not over, and asks for power, asks of the VENs of a client.

    Returns:
        `object_id`, `share_kw` (0 without a part), `of_all_kw` (null: not shared out yet), `flexibility_kw`.
    """
    part, event, ven = event_participations.c, openadr_events.c, openadr_vens.c
    share_kw = case((part.status.in_(LIVE_PARTICIPATIONS), part.requested_reduction_kw), else_=0.0)
    own = (
        select(part.event_id, func.sum(share_kw).label("share_kw"))
        .join(openadr_vens, part.ven_id == ven.ven_id)
        .where(ven.client_id == client_id)
        .group_by(part.event_id)
        .subquery("own")
    )
    return (
        select(
            event.object_id,
            func.coalesce(own.c.share_kw, 0.0).label("share_kw"),
            events.c.shared_reduction_kw.label("of_all_kw"),
            event.flexibility_kw,
        )
        .select_from(openadr_events)
        .join(events, events.c.event_id == event.event_id)
        .outerjoin(own, own.c.event_id == event.event_id)
        .where(events.c.status.in_(TO_COME))
    )


def has_part(client_id: str) -> ColumnElement[bool]:
    """Of an event: whether a VEN of a client has, or had, a part in it."""
    part, ven = event_participations.c, openadr_vens.c
    of_client = (
        select(part.event_id)
        .join(openadr_vens, ven.ven_id == part.ven_id)
        .where(ven.client_id == client_id, part.notified_at.is_not(None))
    )
    return openadr_events.c.event_id.in_(of_client)


def lock_event_of_object(object_id: str) -> Select[str]:
    """Lock the event of ours that an object is, if it is one."""
    event_id = select(openadr_events.c.event_id).where(openadr_events.c.object_id == object_id)
    query = select(events.c.event_id).where(events.c.event_id == event_id.scalar_subquery())
    return query.with_for_update()


def object_of_event(event_id: str) -> Select[Any]:
    return select(openadr_events).where(openadr_events.c.event_id == event_id).with_for_update()


def remove_reports_of_event(event_object_id: str) -> Delete:
    return delete(openadr_reports).where(openadr_reports.c.event_id == event_object_id)


def program_named(name: str) -> Select[Any]:
    return select(openadr_programs.c.object_id).where(openadr_programs.c.program_name == name)


def add_program_once(values: Mapping[str, Any]) -> ReturningInsert[Any]:
    """Returns its id if there was none of that name."""
    statement = upsert(openadr_programs).values(**values)
    return statement.on_conflict_do_nothing(index_elements=["program_name"]).returning(
        openadr_programs.c.object_id
    )


# The registry of this service


def vens_with_target(targets: Sequence[str]) -> Select[Any]:
    """VENs of ours that were granted one of some targets, themselves or by a resource."""
    resource = openadr_resources.c
    by_resource = select(resource.ven_object_id).where(overlaps(resource.targets, targets))
    return (
        select(openadr_vens.c.ven_id)
        .where(or_(has_target(openadr_vens, targets), openadr_vens.c.object_id.in_(by_resource)))
        .order_by(openadr_vens.c.ven_id)
    )


def groups_named(targets: Sequence[str]) -> Select[Any]:
    """Groups of ours whose id is one of some targets."""
    return select(groups.c.group_id).where(groups.c.group_id.in_(targets)).order_by(groups.c.group_id)


def registered(ven_id: str) -> Select[Any]:
    """A VEN of ours, also one that is retired."""
    return select(vens.c.ven_id, vens.c.registration_id, vens.c.retired_at).where(vens.c.ven_id == ven_id)


def newest_ts(ven_id: str) -> Select[Any]:
    """The device time of the latest report of a VEN of ours."""
    return select(ven_snapshots.c.ts).where(ven_snapshots.c.ven_id == ven_id)
