"""The SQL of OpenADR objects that jobs read, and of reports that they write."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.dialects.postgresql import Insert, insert

from schemas.tables.events import event_settlements, ven_settlements
from schemas.tables.openadr import openadr_events, openadr_reports, openadr_vens

EVENT, VEN, OF_VEN, OF_ALL = openadr_events.c, openadr_vens.c, ven_settlements.c, event_settlements.c


def object_of_event(event_id: str) -> Select[Any]:
    """Select the OpenADR object of an event; no row if it has none."""
    columns = (EVENT.object_id, EVENT.client_id, EVENT.program_id, EVENT.body)
    return select(*columns).where(EVENT.event_id == event_id)


def settled_vens(event_id: str, revision: int, baseline: str) -> Select[Any]:
    """Select what each VEN delivered, with its client and name in OpenADR, if any."""
    return (
        select(ven_settlements, VEN.client_id, VEN.ven_name)
        .outerjoin(openadr_vens, VEN.ven_id == OF_VEN.ven_id)
        .where(OF_VEN.event_id == event_id, OF_VEN.revision == revision, OF_VEN.baseline == baseline)
        .order_by(OF_VEN.ven_id)
    )


def settled_portfolio(event_id: str, revision: int, baseline: str) -> Select[Any]:
    """Select what all VENs delivered together."""
    return select(event_settlements).where(
        OF_ALL.event_id == event_id, OF_ALL.revision == revision, OF_ALL.baseline == baseline
    )


def put_reports(reports: Sequence[dict[str, Any]], now: datetime) -> Insert:
    """Upsert reports: those of an earlier revision are replaced."""
    rows = [{**report, "targets": [], "created_at": now, "modified_at": now} for report in reports]
    statement = insert(openadr_reports).values(rows)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["object_id"], set_={"body": new.body, "modified_at": new.modified_at}
    )
