"""Commands in the outbox of a test, and what has become of them."""

from datetime import datetime, timedelta
from typing import Any

import psycopg
from sqlalchemy import Engine, insert

from schemas.demand_response.commands import Op, new_command
from schemas.tables.events import commands

HOUR = timedelta(hours=1)


def put(
    engine: Engine, *ven_ids: str, now: datetime, worth: timedelta = HOUR, op: Op = "ping", **data: Any
) -> list[str]:
    """A command for each VEN; answers their ids."""
    rows = [new_command(op, ven_id, data, now=now, expires_at=now + worth) for ven_id in ven_ids]
    empty = dict.fromkeys(("load_id", "event_id"))
    with engine.begin() as connection:
        connection.execute(insert(commands), [{**empty, **row} for row in rows])
    return [str(row["command_id"]) for row in rows]


def statuses(connection: psycopg.Connection) -> dict[str, int]:
    counted = connection.execute("SELECT status, count(*) FROM commands GROUP BY status")
    return dict(counted.fetchall())


def of(connection: psycopg.Connection, command_id: str, *columns: str) -> tuple[Any, ...]:
    query = f"SELECT {', '.join(columns)} FROM commands WHERE command_id = %s"
    [row] = connection.execute(query.encode(), [command_id]).fetchall()
    return tuple(row)
