"""Queries of the log of changes."""

from typing import Any

from sqlalchemy import Select, func, select

from schemas.tables.live import live_changes


def unnumbered() -> Select[Any]:
    """A row if something has been written that has no position yet."""
    return select(live_changes.c.change_id).where(live_changes.c.position.is_(None)).limit(1)


def extent() -> Select[Any]:
    """The oldest and the newest position that are kept; null before anything was told."""
    return select(func.min(live_changes.c.position), func.max(live_changes.c.position))


def after(position: int, most: int) -> Select[Any]:
    return (
        select(live_changes.c.position, live_changes.c.kind, live_changes.c.data)
        .where(live_changes.c.position > position)
        .order_by(live_changes.c.position)
        .limit(most)
    )
