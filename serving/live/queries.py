"""The SQL of the change log."""

from datetime import datetime
from typing import Literal, NamedTuple

from sqlalchemy import Select, func, select

from schemas.db.queries import Query, fields_of
from schemas.tables.live import live_changes


def unnumbered() -> Select[int]:
    """Select a row if a change has no position yet."""
    return select(live_changes.c.change_id).where(live_changes.c.position.is_(None)).limit(1)


def extent() -> Select[int, int, datetime]:
    """Select the oldest position, the newest one, and when the newest was written; null without changes."""
    newest = (
        select(live_changes.c.position, live_changes.c.written_at)
        .where(live_changes.c.position.is_not(None))
        .order_by(live_changes.c.position.desc())
        .limit(1)
        .subquery()
    )
    oldest = select(func.min(live_changes.c.position)).scalar_subquery()
    return select(oldest, newest.c.position, newest.c.written_at)


def written_at(position: int) -> Select[datetime]:
    return select(live_changes.c.written_at).where(live_changes.c.position == position)


class ChangeRow(NamedTuple):
    """A change: its data are the columns of the changed row, by name."""

    position: int
    kind: Literal["status", "event", "alarm"]
    data: dict[str, object]
    written_at: datetime


def after(position: int, most: int) -> Query[ChangeRow]:
    changes = (
        select(*fields_of(ChangeRow, live_changes))
        .where(live_changes.c.position > position)
        .order_by(live_changes.c.position)
        .limit(most)
    )
    return Query(ChangeRow, changes)
