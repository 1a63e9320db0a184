"""The SQL that deletes rejected messages, statuses and OpenADR reports."""

from datetime import datetime

from sqlalchemy import ColumnElement, Select, exists, func, literal_column, select, text

from schemas.tables.ledger import rejected_messages
from schemas.tables.openadr import openadr_messages, openadr_reports
from schemas.tables.raw import ven_statuses

ROW_BYTES = 100
"""Approximate bytes of a rejected message besides its texts and payload."""

SIZE_OF_REJECTED = text("SELECT pg_total_relation_size('rejected_messages')")

_CTID: ColumnElement[str] = literal_column("ctid")
_REJECTED = rejected_messages.c


def rejected_before(at: datetime) -> Select[str]:
    return select(_CTID).select_from(rejected_messages).where(_REJECTED.received_at < at)


def newest_rejected_beyond(most_bytes: int) -> Select[int | None]:
    """Select the id up to which rejected messages exceed a size, counted from the newest; null if all fit."""
    texts = (func.octet_length(column) for column in (_REJECTED.payload, _REJECTED.topic, _REJECTED.detail))
    row_bytes: ColumnElement[int] = sum(texts, start=literal_column(str(ROW_BYTES)))
    up_to_here = func.sum(row_bytes).over(order_by=_REJECTED.rejected_id.desc()).label("bytes")
    sizes = select(_REJECTED.rejected_id, up_to_here).subquery()
    return select(func.max(sizes.c.rejected_id)).where(sizes.c.bytes > most_bytes)


def rejected_up_to(rejected_id: int) -> Select[str]:
    """Select rejected messages up to an id, oldest first, so that a limited delete keeps the newest."""
    ids = select(_CTID).select_from(rejected_messages).where(_REJECTED.rejected_id <= rejected_id)
    return ids.order_by(_REJECTED.rejected_id)


def openadr_reports_before(at: datetime) -> Select[str]:
    return select(_CTID).select_from(openadr_reports).where(openadr_reports.c.modified_at < at)


def openadr_messages_before(at: datetime) -> Select[str]:
    return select(_CTID).select_from(openadr_messages).where(openadr_messages.c.created_at < at)


def superseded_statuses(before: datetime) -> list[ColumnElement[bool]]:
    """Conditions on statuses from before a time whose VEN has a newer one."""
    newer = ven_statuses.alias("newer")
    of_ven = (newer.c.ven_id == ven_statuses.c.ven_id, newer.c.ts > ven_statuses.c.ts)
    return [ven_statuses.c.ts < before, exists().where(*of_ven).correlate(ven_statuses)]
