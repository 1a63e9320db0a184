"""Objects of OpenADR that jobs read, and reports that they write."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ARRAY, Select, Text, any_, literal, select
from sqlalchemy.dialects.postgresql import Insert, insert

from schemas.db.queries import Query, fields_of
from schemas.tables.openadr import openadr_events, openadr_reports, openadr_vens

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
    some = any_(literal(list(ven_ids), ARRAY(Text)))
    return select(VEN.ven_id, VEN.client_id, VEN.ven_name).where(VEN.ven_id == some)


def put_reports(reports: Sequence[dict[str, Any]], now: datetime) -> Insert:
    """Make reports, or replace those of an earlier revision."""
    rows = [{**report, "targets": [], "created_at": now, "modified_at": now} for report in reports]
    statement = insert(openadr_reports).values(rows)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["object_id"], set_={"body": new.body, "modified_at": new.modified_at}
    )
