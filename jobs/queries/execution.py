"""The SQL that detects the execution of commands in telemetry."""

from datetime import datetime, timedelta

from sqlalchemy import (
    CTE,
    BigInteger,
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
    text,
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
"""How long after the end of a command telemetry is still searched for its execution."""


LONGEST_COMMAND = timedelta(days=1)


SET_WITHIN = timedelta(days=1)


SENT_AT = func.coalesce(commands.c.sent_at, commands.c.created_at)

SAME_KW = 0.0005
"""Powers in commands have three decimals."""


ONLY_LOOPS = (text("SET LOCAL enable_hashjoin = off"), text("SET LOCAL enable_mergejoin = off"))
"""Raw rows are looked up command by command: other joins would read all since the first command."""


def watched_since(now: datetime) -> Select[datetime | None]:
    """Select when the oldest watched command was sent; null without any."""
    return select(func.min(SENT_AT)).where(*_is_watched(now))


def loads_that_shed(now: datetime, since: datetime) -> ReturningUpdate[str | None]:
    """Date `shedLoad` commands by the first sample within their time in which the load sheds."""
    watched = _watched("shedLoad", now)
    is_of_load = ven_load_samples.c.load_id == watched.c.load_id
    return _dated(_first_shedding(watched, ven_load_samples, since, is_of_load))


def panels_that_shed(now: datetime, since: datetime) -> ReturningUpdate[str | None]:
    """Date `shedPanel` commands by the first report within their time in which the panel sheds."""
    return _dated(_first_shedding(_watched("shedPanel", now), ven_telemetry, since))


def _watched(op: str, now: datetime) -> CTE:
    """Watched commands, and the range of time, open at the start, in which they are to show."""
    length = commands.c.data["durationS"].as_float() * literal(timedelta(seconds=1))
    return (
        select(
            commands.c.ven_id,
            commands.c.command_id,
            commands.c.load_id,
            SENT_AT.label("since"),
            (SENT_AT + length).label("until"),
        )
        .where(*_is_watched(now), commands.c.op == op)
        .cte("watched")
        .prefix_with("MATERIALIZED")
    )


def _first_shedding(watched: CTE, table: Table, since: datetime, *conditions: ColumnElement[bool]) -> CTE:
    """When each watched command first shows in a raw table.

    `since` becomes a constant of the statement, which so leaves older partitions alone. Joined, and not
    looked up command by command: a distributed table is not read once for each row of a local one.
    """
    constant = bindparam(None, since, table.c.ts.type, literal_execute=True)
    in_time = (table.c.ts > constant, table.c.ts > watched.c.since, table.c.ts <= watched.c.until)
    return (
        select(watched.c.ven_id, watched.c.command_id, func.min(table.c.ts).label("seen_at"))
        .join_from(watched, table, and_(table.c.ven_id == watched.c.ven_id, *conditions, *in_time))
        .where(table.c.shed_power_kw > 0)
        .group_by(watched.c.ven_id, watched.c.command_id)
        .cte("seen")
        .prefix_with("MATERIALIZED")
    )


def loads_as_set(now: datetime) -> ReturningUpdate[str | None]:
    """Mark `setLoad` commands as executed whose load has since reported all set values."""
    latest, data = load_snapshots.c, commands.c.data
    fields = (
        (data["enabled"], latest.enabled == data["enabled"].as_boolean(), latest.enabled_stamp),
        (
            data["capacityKw"],
            func.abs(latest.capacity_kw - data["capacityKw"].as_float()) < SAME_KW,
            latest.capacity_kw_stamp,
        ),
        (data["priority"], latest.priority == data["priority"].as_integer(), latest.priority_stamp),
    )
    since_us = cast(func.extract("epoch", SENT_AT) * 1_000_000, BigInteger)
    is_set = (or_(asked.is_(None), and_(holds, stamp / 2 > since_us)) for asked, holds, stamp in fields)
    last_us = func.greatest(*(case((asked.is_not(None), stamp / 2)) for asked, _, stamp in fields))
    at = literal(EPOCH) + last_us * literal(timedelta(microseconds=1))
    query = (
        select(at)
        .where(latest.ven_id == commands.c.ven_id, latest.load_id == commands.c.load_id, *is_set)
        .where(at <= SENT_AT + literal(SET_WITHIN))
        .correlate(commands)
    )
    seen = (
        select(commands.c.ven_id, commands.c.command_id, query.scalar_subquery().label("seen_at"))
        .where(*_is_watched(now), commands.c.op == "setLoad")
        .cte("seen")
        .prefix_with("MATERIALIZED")
    )
    return _dated(seen)


def _is_watched(now: datetime) -> tuple[ColumnElement[bool], ...]:
    unseen: ColumnElement[bool] = literal_column(
        "commands.status = 'acknowledged' AND commands.executed_at IS NULL"
    )
    return unseen, commands.c.acknowledged_at > now - LONGEST_COMMAND - LATE


def _dated(seen: CTE) -> ReturningUpdate[str | None]:
    """Date commands by `seen_at`; returns the events that they belong to."""
    return (
        update(commands)
        .where(
            commands.c.ven_id == seen.c.ven_id,
            commands.c.command_id == seen.c.command_id,
            commands.c.executed_at.is_(None),
            seen.c.seen_at.is_not(None),
        )
        .values(executed_at=seen.c.seen_at)
        .returning(commands.c.event_id)
    )
