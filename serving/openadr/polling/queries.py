"""What the copies are read by: events with what they ask for, grants of a client, parts in events."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import (
    ARRAY,
    BindParameter,
    ColumnElement,
    Text,
    any_,
    bindparam,
    case,
    cast,
    false,
    func,
    or_,
    select,
    union_all,
)

from schemas.db.queries import Query, Relation
from schemas.openadr_objects import Object
from schemas.tables.events import LIVE_PARTICIPATIONS, TO_COME, event_participations, events
from schemas.tables.openadr import openadr_events, openadr_resources, openadr_vens

EVENT, VEN, RESOURCE, PART = openadr_events.c, openadr_vens.c, openadr_resources.c, event_participations.c
Texts = ARRAY(Text(collation="C"))
CLIENT_ID: BindParameter[str] = bindparam("client_id", type_=Text)
OBJECT_IDS: BindParameter[Sequence[str]] = bindparam("object_ids", type_=Texts)
EVENT_IDS: BindParameter[Sequence[str]] = bindparam("event_ids", type_=Texts)


class EventCopyRow(NamedTuple):
    """An event of OpenADR, and what it asks for if it is an event of ours that is not over (`is_live`)."""

    object_id: str
    targets: list[str]
    body: Object
    created_at: datetime
    modified_at: datetime
    program_id: str
    ends_at: datetime | None
    event_id: str | None
    flexibility_kw: float | None
    is_live: bool
    of_all_kw: float | None


class ClientPartRow(NamedTuple):
    """What an event asks of the VENs of one client, and whether one of them was notified of it."""

    event_id: str
    client_id: str
    share_kw: float
    is_notified: bool


def all_events() -> Query[EventCopyRow]:
    return Query(EventCopyRow, _EVENTS)


def some_events(object_ids: Sequence[str], event_ids: Sequence[str]) -> Query[EventCopyRow]:
    """Events by the ids of their objects, and by those of the events of ours that they are."""
    return Query(EventCopyRow, _SOME_EVENTS, {"object_ids": list(object_ids), "event_ids": list(event_ids)})


def size_of_events() -> Query[tuple[int]]:
    """Bytes of all events as clients have sent them."""
    return Query(tuple, _SIZE)


def parts_in(event_ids: Sequence[str]) -> Query[ClientPartRow]:
    """The parts of all clients in some events."""
    return Query(ClientPartRow, _PARTS_IN_EVENTS, {"event_ids": list(event_ids)})


def grants_of(client_id: str) -> Query[tuple[str]]:
    """The targets of a client's VENs and of their resources."""
    return Query(tuple, _GRANTS, {"client_id": client_id})


def parts_of(client_id: str) -> Query[tuple[str, float, bool]]:
    """As `ClientPartRow`, of one client in all events."""
    return Query(tuple, _PARTS_OF_CLIENT, {"client_id": client_id})


def _events() -> Relation:
    is_live = func.coalesce(_is_one_of(events.c.status, TO_COME), false())
    copied = [EVENT[name] for name in EventCopyRow._fields[:-2]]
    of_ours = (is_live.label("is_live"), events.c.shared_reduction_kw.label("of_all_kw"))
    return (
        select(*copied, *of_ours)
        .select_from(openadr_events)
        .outerjoin(events, events.c.event_id == EVENT.event_id)
    )


def _parts(*columns: ColumnElement[str]) -> Relation:
    """Sums over the VENs of a client, in events that are objects of OpenADR."""
    share_kw = case((_is_one_of(PART.status, LIVE_PARTICIPATIONS), PART.requested_reduction_kw), else_=0.0)
    return (
        select(
            *columns,
            func.coalesce(func.sum(share_kw), 0.0).label("share_kw"),
            func.bool_or(PART.notified_at.is_not(None)).label("is_notified"),
        )
        .select_from(event_participations)
        .join(openadr_vens, VEN.ven_id == PART.ven_id)
        .join(openadr_events, EVENT.event_id == PART.event_id)
        .group_by(*columns)
    )


def _is_one_of(column: ColumnElement[str], texts: Sequence[str]) -> ColumnElement[bool]:
    """As `in_`, which is compiled again for each execution."""
    return or_(*(column == each for each in texts))


def _grants() -> Relation:
    each = (
        select(func.unnest(VEN.targets).label("target")).where(VEN.client_id == CLIENT_ID),
        select(func.unnest(RESOURCE.targets).label("target")).where(RESOURCE.client_id == CLIENT_ID),
    )
    granted = union_all(*each).subquery()
    return select(granted.c.target).distinct()


_EVENTS = _events()
_SOME_EVENTS = _events().where(or_(EVENT.object_id == any_(OBJECT_IDS), EVENT.event_id == any_(EVENT_IDS)))
_SIZE = select(func.coalesce(func.sum(func.octet_length(cast(EVENT.body, Text))), 0).label("size_bytes"))
_PARTS_IN_EVENTS = _parts(PART.event_id, VEN.client_id).where(PART.event_id == any_(EVENT_IDS))
_PARTS_OF_CLIENT = _parts(PART.event_id).where(VEN.client_id == CLIENT_ID)
_GRANTS = _grants()
