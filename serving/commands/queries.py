"""Queries of commands, with their status."""

from typing import Any

from sqlalchemy import Select, Text, cast, select
from sqlalchemy import tuple_ as row_of

from schemas.tables.events import commands
from serving.page import Page

IN_TURN = (commands.c.created_at, commands.c.command_id)


def _all() -> Select[Any]:
    """The JSON columns stay text, which is handed on as it came."""
    texts = ("data", "acknowledgement")
    columns = [cast(c, Text).label(c.name) if c.name in texts else c for c in commands.c]
    return select(*columns)


def command(command_id: str) -> Select[Any]:
    return _all().where(commands.c.command_id == command_id)


def commands_of_ven(ven_id: str, page: Page) -> Select[Any]:
    """Newest first; `after` is the id of the last one seen."""
    newest = [column.desc() for column in IN_TURN]
    query = _all().where(commands.c.ven_id == ven_id).order_by(*newest).limit(page.limit)
    if page.after is None:
        return query
    seen = select(*IN_TURN).where(commands.c.ven_id == ven_id, commands.c.command_id == page.after)
    return query.where(row_of(*IN_TURN) < seen.scalar_subquery())
