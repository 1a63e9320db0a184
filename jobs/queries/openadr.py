"""The SQL of OpenADR objects that jobs read, and of reports that they write."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, ColumnElement, Select, Text, any_, exists, literal, literal_column, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningInsert
from sqlalchemy.sql.elements import CollectionAggregate

from schemas.db.queries import Query, fields_of
from schemas.tables.events import events
from schemas.tables.openadr import openadr_events, openadr_reports, openadr_subscriptions, openadr_vens

EVENT, VEN = openadr_events.c, openadr_vens.c


class EventObject(NamedTuple):
    """The object that an event is."""

    object_id: str
    client_id: str
    program_id: str
    body: dict[str, Any]
    created_at: datetime


def object_of_event(event_id: str) -> Query[EventObject]:
    """No row if it is none."""
    return Query(
        EventObject, select(*fields_of(EventObject, openadr_events)).where(EVENT.event_id == event_id)
    )


def owners(ven_ids: Sequence[str]) -> Select[Any]:
    """Those of some VENs that are objects of OpenADR: `ven_id`, with client and name there."""
    return select(VEN.ven_id, VEN.client_id, VEN.ven_name).where(VEN.ven_id == _any_of(ven_ids))


def lock_events(event_ids: Sequence[str]) -> Select[str]:
    """Lock events against changes by people."""
    query = select(events.c.event_id).where(events.c.event_id == _any_of(event_ids))
    return query.order_by(events.c.event_id).with_for_update()


def lock_objects(event_ids: Sequence[str]) -> Select[Any]:
    """Lock the objects that some events are against changes."""
    query = select(openadr_events).where(EVENT.event_id == _any_of(event_ids))
    return query.order_by(EVENT.object_id).with_for_update(read=True)


def has_subscription(kind: str) -> Select[bool]:
    """Whether anybody has subscribed to a type of object."""
    has_kind = openadr_subscriptions.c.objects.op("@>", is_comparison=True)(
        literal([kind], ARRAY(Text(collation="C")))
    )
    return select(exists().where(has_kind))


def _any_of(texts: Sequence[str]) -> CollectionAggregate[bool]:
    return any_(literal(list(texts), ARRAY(Text)))


def put_reports(reports: Sequence[dict[str, Any]], now: datetime) -> ReturningInsert[Any]:
    """Make reports, or replace those of an earlier revision; returns them, and whether each `is_new`."""
    rows = [{**report, "targets": [], "created_at": now, "modified_at": now} for report in reports]
    statement = insert(openadr_reports).values(rows)
    new = statement.excluded
    is_new: ColumnElement[bool] = literal_column("openadr_reports.xmax = 0")
    return statement.on_conflict_do_update(
        index_elements=["object_id"], set_={"body": new.body, "modified_at": new.modified_at}
    ).returning(openadr_reports, is_new.label("is_new"))
