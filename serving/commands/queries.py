"""The SQL of commands, with their status."""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import JSON, Text, cast, select
from sqlalchemy import tuple_ as row_of

from schemas.api.commands import CommandStatus
from schemas.db.queries import Query, Relation, fields_of
from schemas.tables.events import commands
from serving.page import Page

IN_TURN = (commands.c.created_at, commands.c.command_id)


class CommandRow(NamedTuple):
    """A command of the outbox; JSON stays text, which is passed on unchanged."""

    command_id: str
    ven_id: str
    op: str
    load_id: str | None
    event_id: str | None
    data: str
    status: CommandStatus
    attempts: int
    created_at: datetime
    sent_at: datetime | None
    acknowledged_at: datetime | None
    executed_at: datetime | None
    expires_at: datetime
    acknowledgement: str | None
    error: str | None


def _all() -> Relation:
    columns = fields_of(CommandRow, commands)
    return select(*(cast(c, Text).label(c.name) if isinstance(c.type, JSON) else c for c in columns))


def command(command_id: str) -> Query[CommandRow]:
    return Query(CommandRow, _all().where(commands.c.command_id == command_id))


def commands_of_ven(ven_id: str, page: Page) -> Query[CommandRow]:
    """Select commands, newest first; `after` is the id of the last one seen."""
    newest = [column.desc() for column in IN_TURN]
    query = _all().where(commands.c.ven_id == ven_id).order_by(*newest).limit(page.limit)
    if page.after is None:
        return Query(CommandRow, query)
    last = select(*IN_TURN).where(commands.c.ven_id == ven_id, commands.c.command_id == page.after)
    return Query(CommandRow, query.where(row_of(*IN_TURN) < last.scalar_subquery()))
