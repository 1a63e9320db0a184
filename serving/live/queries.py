"""Queries of the log of changes."""

from typing import Any

from sqlalchemy import Select, func, select

from schemas.tables.live import live_changes


def unnumbered() -> Select[Any]:
    """A row if something has been written that has no position yet."""
    return select(live_changes.c.change_id).where(live_changes.c.position.is_(None)).limit(1)


def extent() -> Select[Any]:
    """The oldest position, the newest one, and when the newest was written; null without any change."""
    newest = (
        select(live_changes.c.position, live_changes.c.written_at)
        .where(live_changes.c.position.is_not(None))
        .order_by(live_changes.c.position.desc())
        .limit(1)
        .subquery()
    )
    oldest = select(func.min(live_changes.c.position)).scalar_subquery()
    return select(oldest, newest.c.position, newest.c.written_at)


def written_at(position: int) -> Select[Any]:
    return select(live_changes.c.written_at).where(live_changes.c.position == position)


def after(position: int, most: int) -> Select[Any]:
    return (
        select(live_changes.c.position, live_changes.c.kind, live_changes.c.data, live_changes.c.written_at)
        .where(live_changes.c.position > position)
        .order_by(live_changes.c.position)
        .limit(most)
    )
