"""Objects of OpenADR: one set of statements for all nouns, and those that only one of them has."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

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

from schemas.db.queries import Query, Relation, RowT, fields_of
from schemas.openadr_objects import Object
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


class OpenAdrProgramRow(NamedTuple):
    object_id: str
    client_id: str
    targets: list[str]
    body: Object
    created_at: datetime
    modified_at: datetime
    program_name: str


class OpenAdrEventRow(NamedTuple):
    object_id: str
    client_id: str
    targets: list[str]
    body: Object
    created_at: datetime
    modified_at: datetime
    program_id: str
    ends_at: datetime | None
    event_id: str | None
    flexibility_kw: float | None


class OpenAdrReportRow(NamedTuple):
    object_id: str
    client_id: str
    targets: list[str]
    body: Object
    created_at: datetime
    modified_at: datetime
    program_id: str
    event_id: str
    client_name: str


class OpenAdrSubscriptionRow(NamedTuple):
    object_id: str
    client_id: str
    targets: list[str]
    body: Object
    created_at: datetime
    modified_at: datetime
    program_id: str | None
    client_name: str
    objects: list[str]
    reads_all: bool


class OpenAdrVenRow(NamedTuple):
    object_id: str
    client_id: str
    targets: list[str]
    body: Object
    created_at: datetime
    modified_at: datetime
    ven_name: str
    ven_id: str
    is_registered_here: bool


class OpenAdrResourceRow(NamedTuple):
    object_id: str
    client_id: str
    targets: list[str]
    body: Object
    created_at: datetime
    modified_at: datetime
    ven_object_id: str
    resource_name: str
    load_id: str


ObjectRow = (
    OpenAdrProgramRow
    | OpenAdrEventRow
    | OpenAdrReportRow
    | OpenAdrSubscriptionRow
    | OpenAdrVenRow
    | OpenAdrResourceRow
)


class ResourceLoadRow(NamedTuple):
    """A resource, and the load that it is."""

    ven_object_id: str
    resource_name: str
    load_id: str


class ClientShareRow(NamedTuple):
    """What an event asks of the VENs of a client."""

    object_id: str
    share_kw: float
    of_all_kw: float | None
    flexibility_kw: float | None


class RegisteredVenRow(NamedTuple):
    """A VEN of the registry, also one that is retired."""

    ven_id: str
    registration_id: str | None
    retired_at: datetime | None


def listed(
    table: Table, row: type[RowT], conditions: Sequence[ColumnElement[bool]], page: ObjectPage
) -> Query[RowT]:
    """In the order in which they were made."""
    query = _all(table, row).where(*conditions).order_by(table.c.created_at, table.c.object_id)
    return Query(row, query.offset(page.skip).limit(page.limit))


def one(
    table: Table, row: type[RowT], object_id: str, conditions: Sequence[ColumnElement[bool]] = ()
) -> Query[RowT]:
    return Query(row, _one(table, row, object_id, conditions))


def locked(
    table: Table, row: type[RowT], object_id: str, conditions: Sequence[ColumnElement[bool]]
) -> Query[RowT]:
    return Query(row, _one(table, row, object_id, conditions).with_for_update())


def _one(
    table: Table, row: type[tuple[object, ...]], object_id: str, conditions: Sequence[ColumnElement[bool]]
) -> Relation:
    return _all(table, row).where(table.c.object_id == object_id, *conditions)


def _all(table: Table, row: type[tuple[object, ...]]) -> Relation:
    return select(*fields_of(row, table))


def add(table: Table, values: Mapping[str, object]) -> Insert:
    return insert(table).values(**values)


def change(table: Table, object_id: str, values: Mapping[str, object]) -> Update:
    return update(table).where(table.c.object_id == object_id).values(**values)


def remove(table: Table, object_id: str) -> Delete:
    return delete(table).where(table.c.object_id == object_id)


def is_untargeted(table: Table) -> ColumnElement[bool]:
    return func.cardinality(table.c.targets) == 0


def has_target(table: Table, targets: Sequence[str]) -> ColumnElement[bool]:
    """Whether an object has one of some targets."""
    return overlaps(table.c.targets, targets)


def overlaps(column: ColumnElement[Sequence[str]], texts: Sequence[str]) -> ColumnElement[bool]:
    return column.op("&&", is_comparison=True)(literal(list(texts), ARRAY(Text(collation="C"))))


def granted_targets(client_id: str) -> Select[str]:
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


def events_of_program(program_id: str) -> Query[OpenAdrEventRow]:
    of_program = openadr_events.c.program_id == program_id
    return Query(OpenAdrEventRow, _all(openadr_events, OpenAdrEventRow).where(of_program))


def reports_of_event(event_object_id: str) -> Query[OpenAdrReportRow]:
    of_event = openadr_reports.c.event_id == event_object_id
    return Query(OpenAdrReportRow, _all(openadr_reports, OpenAdrReportRow).where(of_event))


def subscriptions_of_program(program_id: str) -> Query[OpenAdrSubscriptionRow]:
    of_program = openadr_subscriptions.c.program_id == program_id
    subscriptions = _all(openadr_subscriptions, OpenAdrSubscriptionRow)
    return Query(OpenAdrSubscriptionRow, subscriptions.where(of_program))


def resources_of_ven(ven_object_id: str) -> Query[OpenAdrResourceRow]:
    of_ven = openadr_resources.c.ven_object_id == ven_object_id
    return Query(OpenAdrResourceRow, _all(openadr_resources, OpenAdrResourceRow).where(of_ven))


def lock_program(program_id: str) -> Select[str]:
    """Lock a program against its deletion."""
    return (
        select(openadr_programs.c.object_id)
        .where(openadr_programs.c.object_id == program_id)
        .with_for_update(read=True)
    )


def lock_event(event_object_id: str, conditions: Sequence[ColumnElement[bool]]) -> Query[OpenAdrEventRow]:
    """Lock an event against its deletion."""
    event = _one(openadr_events, OpenAdrEventRow, event_object_id, conditions)
    return Query(OpenAdrEventRow, event.with_for_update(read=True))


def vens_of_client(client_id: str) -> Query[OpenAdrVenRow]:
    enrolled = _all(openadr_vens, OpenAdrVenRow).where(openadr_vens.c.client_id == client_id)
    return Query(OpenAdrVenRow, enrolled.order_by(openadr_vens.c.ven_id))


def loads_of_vens(ven_object_ids: Sequence[str]) -> Query[ResourceLoadRow]:
    """The resources of some VENs, with the loads that they are."""
    resource = openadr_resources.c
    loads = select(*fields_of(ResourceLoadRow, openadr_resources))
    of_vens = loads.where(resource.ven_object_id.in_(ven_object_ids))
    return Query(ResourceLoadRow, of_vens.order_by(resource.resource_name))


def put_report(values: Mapping[str, object]) -> Insert:
    return insert(report_inbox).values(**values)


def shares_of_client(client_id: str) -> Query[ClientShareRow]:
    """What each event that is not over, and asks for power, asks of the VENs of a client.

    `share_kw` is 0 without a part; `of_all_kw` is null until the jobs have shared the event out.
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
    shares = (
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
    return Query(ClientShareRow, shares)


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


def object_of_event(event_id: str) -> Query[OpenAdrEventRow]:
    of_event = _all(openadr_events, OpenAdrEventRow).where(openadr_events.c.event_id == event_id)
    return Query(OpenAdrEventRow, of_event.with_for_update())


def remove_reports_of_event(event_object_id: str) -> Delete:
    return delete(openadr_reports).where(openadr_reports.c.event_id == event_object_id)


def program_named(name: str) -> Select[str]:
    return select(openadr_programs.c.object_id).where(openadr_programs.c.program_name == name)


def add_program_once(values: Mapping[str, object]) -> ReturningInsert[str]:
    """Returns its id if there was none of that name."""
    statement = upsert(openadr_programs).values(**values)
    return statement.on_conflict_do_nothing(index_elements=["program_name"]).returning(
        openadr_programs.c.object_id
    )


# The registry of this service


def vens_with_target(targets: Sequence[str]) -> Select[str]:
    """VENs of ours that were granted one of some targets, themselves or by a resource."""
    resource = openadr_resources.c
    by_resource = select(resource.ven_object_id).where(overlaps(resource.targets, targets))
    return (
        select(openadr_vens.c.ven_id)
        .where(or_(has_target(openadr_vens, targets), openadr_vens.c.object_id.in_(by_resource)))
        .order_by(openadr_vens.c.ven_id)
    )


def groups_named(targets: Sequence[str]) -> Select[str]:
    """Groups of ours whose id is one of some targets."""
    return select(groups.c.group_id).where(groups.c.group_id.in_(targets)).order_by(groups.c.group_id)


def registered(ven_id: str) -> Query[RegisteredVenRow]:
    of_ven = select(*fields_of(RegisteredVenRow, vens)).where(vens.c.ven_id == ven_id)
    return Query(RegisteredVenRow, of_ven)


def newest_ts(ven_id: str) -> Select[datetime]:
    """The device time of the latest report of a VEN of ours."""
    return select(ven_snapshots.c.ts).where(ven_snapshots.c.ven_id == ven_id)
