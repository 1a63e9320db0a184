"""Queries of the execution of commands in telemetry."""

from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    ScalarSelect,
    Select,
    Table,
    and_,
    bindparam,
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

from schemas.tables.events import commands
from schemas.tables.raw import ven_load_samples, ven_telemetry
from schemas.tables.snapshots import (
    load_snapshots,
)
from schemas.times.instants import EPOCH

LATE = timedelta(hours=1)
"""Telemetry that comes later than so long after a command was to end shows nothing of it any more."""


LONGEST_COMMAND = timedelta(days=1)


SET_WITHIN = timedelta(days=1)


SENT_AT = func.coalesce(commands.c.sent_at, commands.c.created_at)

SAME_KW = 0.0005
"""Powers in commands have three decimals."""


def watched_since(now: datetime) -> Select[datetime | None]:
    """When the oldest command was sent that is watched; null without any."""
    return select(func.min(SENT_AT)).where(*_is_watched(now))


def loads_that_shed(now: datetime, since: datetime) -> ReturningUpdate[str | None]:
    """Date `shedLoad` commands by the first sample within their time in which the load sheds."""
    is_of_load = ven_load_samples.c.load_id == commands.c.load_id
    return _executed("shedLoad", now, _first_shedding(ven_load_samples, since, is_of_load))


def panels_that_shed(now: datetime, since: datetime) -> ReturningUpdate[str | None]:
    """Date `shedPanel` commands by the first report within their time in which the panel sheds."""
    return _executed("shedPanel", now, _first_shedding(ven_telemetry, since))


def _first_shedding(
    table: Table, watched_since: datetime, *conditions: ColumnElement[bool]
) -> ScalarSelect[datetime]:
    """`watched_since` becomes a constant of the statement, which so leaves older partitions alone."""
    seconds = commands.c.data["durationS"].as_float()
    constant = bindparam(None, watched_since, table.c.ts.type, literal_execute=True)
    return (
        select(table.c.ts)
        .where(
            table.c.ven_id == commands.c.ven_id,
            *conditions,
            table.c.ts > constant,
            table.c.ts > SENT_AT,
            table.c.ts <= SENT_AT + seconds * literal(timedelta(seconds=1)),
            table.c.shed_power_kw > 0,
        )
        .order_by(table.c.ts)
        .limit(1)
        .correlate(commands)
        .scalar_subquery()
    )


def loads_as_set(now: datetime) -> ReturningUpdate[str | None]:
    """Mark `setLoad` commands as executed whose load has since reported all that was set."""
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
    since_us = cast(func.extract("epoch", SENT_AT) * 1_000_000, BigInteger)
    is_set = (or_(asked.is_(None), and_(holds, stamp / 2 > since_us)) for asked, holds, stamp in fields)
    last_us = func.greatest(*(case((asked.is_not(None), stamp / 2)) for asked, _, stamp in fields))
    at = literal(EPOCH) + last_us * literal(timedelta(microseconds=1))
    query = (
        select(at)
        .where(said.ven_id == commands.c.ven_id, said.load_id == commands.c.load_id, *is_set)
        .where(at <= SENT_AT + literal(SET_WITHIN))
        .correlate(commands)
    )
    return _executed("setLoad", now, query.scalar_subquery())


def _is_watched(now: datetime) -> tuple[ColumnElement[bool], ...]:
    unseen: ColumnElement[bool] = literal_column(
        "commands.status = 'acknowledged' AND commands.executed_at IS NULL"
    )
    return unseen, commands.c.acknowledged_at > now - LONGEST_COMMAND - LATE


def _executed(op: str, now: datetime, seen_at: ScalarSelect[datetime]) -> ReturningUpdate[str | None]:
    """Date what is watched and has been seen; returns the events that it belongs to."""
    watched = (
        select(commands.c.ven_id, commands.c.command_id, seen_at.label("seen_at"))
        .where(*_is_watched(now), commands.c.op == op)
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
