"""The SQL of OpenADR objects that jobs read, and of reports that they write."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ARRAY, ColumnElement, Select, Text, any_, exists, literal, literal_column, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningInsert
from sqlalchemy.sql.elements import CollectionAggregate

from schemas.db.queries import Query, fields_of
from schemas.openadr_objects import Object
from schemas.tables.events import events
from schemas.tables.openadr import openadr_events, openadr_reports, openadr_subscriptions, openadr_vens

EVENT, VEN = openadr_events.c, openadr_vens.c


class EventObject(NamedTuple):
    """The object that an event is."""

    object_id: str
    client_id: str
    program_id: str
    body: Object
    created_at: datetime


def object_of_event(event_id: str) -> Query[EventObject]:
    """No row if it is none."""
    return Query(
        EventObject, select(*fields_of(EventObject, openadr_events)).where(EVENT.event_id == event_id)
    )


class Owner(NamedTuple):
    """The client of a VEN that is an object of OpenADR, and the VEN's name there."""

    ven_id: str
    client_id: str
    ven_name: str


def owners(ven_ids: Sequence[str]) -> Query[Owner]:
    """Select the owners of those of some VENs that are objects of OpenADR."""
    return Query(Owner, select(*fields_of(Owner, openadr_vens)).where(VEN.ven_id == _any_of(ven_ids)))


def lock_events(event_ids: Sequence[str]) -> Select[str]:
    """Lock events against changes by people."""
    query = select(events.c.event_id).where(events.c.event_id == _any_of(event_ids))
    return query.order_by(events.c.event_id).with_for_update()


class LockedObject(NamedTuple):
    """The object that an event is, as it is shown, with its targets."""

    object_id: str
    targets: list[str]
    body: Object
    created_at: datetime
    modified_at: datetime


def lock_objects(event_ids: Sequence[str]) -> Query[LockedObject]:
    """Lock the objects that some events are against changes."""
    of_events = select(*fields_of(LockedObject, openadr_events)).where(EVENT.event_id == _any_of(event_ids))
    return Query(LockedObject, of_events.order_by(EVENT.object_id).with_for_update(read=True))


def has_subscription(kind: str) -> Select[bool]:
    """Whether anybody has subscribed to a type of object."""
    has_kind = openadr_subscriptions.c.objects.op("@>", is_comparison=True)(
        literal([kind], ARRAY(Text(collation="C")))
    )
    return select(exists().where(has_kind))


def _any_of(texts: Sequence[str]) -> CollectionAggregate[bool]:
    return any_(literal(list(texts), ARRAY(Text)))


class StoredReport(NamedTuple):
    """A report that was made, or replaced if it is not new."""

    object_id: str
    client_id: str
    program_id: str
    body: Object
    created_at: datetime
    modified_at: datetime
    is_new: bool


def put_reports(
    reports: Sequence[Mapping[str, object]], now: datetime
) -> ReturningInsert[*tuple[object, ...]]:
    """Make reports, or replace those of an earlier revision; returns the columns of `StoredReport`."""
    rows = [{**report, "targets": [], "created_at": now, "modified_at": now} for report in reports]
    statement = insert(openadr_reports).values(rows)
    new = statement.excluded
    is_new: ColumnElement[bool] = literal_column("openadr_reports.xmax = 0")
    return statement.on_conflict_do_update(
        index_elements=["object_id"], set_={"body": new.body, "modified_at": new.modified_at}
    ).returning(*(openadr_reports.c[name] for name in StoredReport._fields[:-1]), is_new.label("is_new"))
