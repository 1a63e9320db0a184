"""Commands: the outbox that people fill, and what has become of them."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, cast, extract, func, insert, select, update
from sqlalchemy import tuple_ as row_of
from sqlalchemy.sql.dml import Insert, ReturningUpdate

from schemas.tables.events import OPEN_COMMANDS, commands
from serving.windows import Page

RECENT_ANSWERS = 5
"""So many of a VEN's last answers make up its response time."""

IN_TURN = (commands.c.created_at, commands.c.command_id)


def _all() -> Select[Any]:
    """What VENs answer stays text: it is handed on as it came."""
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


def add(row: Mapping[str, Any]) -> Insert:
    return insert(commands).values(**row)


def withdraw(ven_id: str, reason: str, *conditions: ColumnElement[bool]) -> ReturningUpdate[Any]:
    """End commands that nobody has answered yet; answers what they said."""
    return (
        update(commands)
        .where(commands.c.ven_id == ven_id, commands.c.status.in_(OPEN_COMMANDS), *conditions)
        .values(status="expired", error=reason)
        .returning(commands.c.created_at, commands.c.data)
    )


def settings_of(load_id: str) -> tuple[ColumnElement[bool], ...]:
    """Those that set a load."""
    return commands.c.op == "setLoad", commands.c.load_id == load_id


def response_ms(ven_id: ColumnElement[str]) -> ColumnElement[float]:
    """From sending to acknowledging, in the mean over a VEN's last answers; null without any."""
    answer = commands.alias()
    last = (
        select((extract("epoch", answer.c.acknowledged_at - answer.c.sent_at) * 1000).label("ms"))
        .where(
            answer.c.ven_id == ven_id,
            answer.c.acknowledged_at.is_not(None),
            answer.c.sent_at.is_not(None),
        )
        .order_by(answer.c.created_at.desc())
        .limit(RECENT_ANSWERS)
        .correlate(ven_id.table)
        .subquery()
    )
    return select(func.avg(last.c.ms)).scalar_subquery()
