"""What telemetry shows of commands."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ScalarSelect,
    Table,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.dml import ReturningUpdate

from schemas.instants import EPOCH
from schemas.tables.events import commands
from schemas.tables.raw import ven_load_samples, ven_telemetry
from schemas.tables.snapshots import (
    load_snapshots,
)

LATE = timedelta(hours=1)
"""Telemetry that comes later than so long after a command was to end shows nothing of it any more."""


LONGEST_COMMAND = timedelta(days=1)


SET_WITHIN = timedelta(days=1)


SAME_KW = 0.0005
"""Powers are told with three decimals."""


def loads_that_shed(now: datetime) -> ReturningUpdate[str | None]:
    """Date `shedLoad` commands by the first sample within their time in which the load sheds."""
    sample = ven_load_samples.c
    return _executed("shedLoad", now, _first_shedding(ven_load_samples, sample.load_id == commands.c.load_id))


def panels_that_shed(now: datetime) -> ReturningUpdate[str | None]:
    """Date `shedPanel` commands by the first report within their time in which the panel sheds."""
    return _executed("shedPanel", now, _first_shedding(ven_telemetry))


def _first_shedding(table: Table, *conditions: ColumnElement[bool]) -> ScalarSelect[datetime]:
    seconds = commands.c.data["durationS"].as_float()
    since = func.coalesce(commands.c.sent_at, commands.c.created_at)
    return (
        select(table.c.ts)
        .where(
            table.c.ven_id == commands.c.ven_id,
            *conditions,
            table.c.ts > since,
            table.c.ts <= since + seconds * literal(timedelta(seconds=1)),
            table.c.shed_power_kw > 0,
        )
        .order_by(table.c.ts)
        .limit(1)
        .correlate(commands)
        .scalar_subquery()
    )


def loads_as_set(now: datetime) -> ReturningUpdate[str | None]:
    """Date `setLoad` commands by what their load has last said: all that was set, and after it was sent."""
    said, data = load_snapshots.c, commands.c.data
    fields = (
        (data["enabled"], said.enabled == data["enabled"].as_boolean(), said.enabled_stamp),
        (
            data["capacityKw"],
            func.abs(said.capacity_kw - data["capacityKw"].as_float()) < SAME_KW,
            said.capacity_kw_stamp,
        ),
        (data["priority"], said.priority == data["priority"].as_integer(), said.priority_stamp),
    )
    since = func.coalesce(commands.c.sent_at, commands.c.created_at)
    since_us = cast(func.extract("epoch", since) * 1_000_000, BigInteger)
    is_set = (or_(asked.is_(None), and_(holds, stamp / 2 > since_us)) for asked, holds, stamp in fields)
    last_us = func.greatest(*(case((asked.is_not(None), stamp / 2)) for asked, _, stamp in fields))
    at = literal(EPOCH) + last_us * literal(timedelta(microseconds=1))
    query = (
        select(at)
        .where(said.ven_id == commands.c.ven_id, said.load_id == commands.c.load_id, *is_set)
        .where(at <= since + literal(SET_WITHIN))
        .correlate(commands)
    )
    return _executed("setLoad", now, query.scalar_subquery())


def _executed(op: str, now: datetime, seen_at: ScalarSelect[Any]) -> ReturningUpdate[str | None]:
    """Date what is watched and has been seen; answers the events that it belongs to."""
    is_watched: ColumnElement[bool] = literal_column(
        "commands.status = 'acknowledged' AND commands.executed_at IS NULL"
    )
    watched = (
        select(commands.c.ven_id, commands.c.command_id, seen_at.label("seen_at"))
        .where(is_watched, commands.c.op == op, commands.c.acknowledged_at > now - LONGEST_COMMAND - LATE)
        .cte("watched")
        .prefix_with("MATERIALIZED")
    )
    return (
        update(commands)
        .where(
            commands.c.ven_id == watched.c.ven_id,
            commands.c.command_id == watched.c.command_id,
            commands.c.executed_at.is_(None),
            watched.c.seen_at.is_not(None),
        )
        .values(executed_at=watched.c.seen_at)
        .returning(commands.c.event_id)
    )
