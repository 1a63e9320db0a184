"""Execution of commands, as telemetry shows it, whatever VENs have answered."""

from datetime import datetime

from sqlalchemy import Connection

from jobs.queries.events import execution as execution_queries
from schemas.db.channels import COMMANDS, event_changed, notify


def see_executions(connection: Connection, now: datetime) -> int:
    """Date the commands that telemetry shows to be obeyed; returns how many."""
    since = connection.execute(execution_queries.watched_since(now)).scalar_one()
    if since is None:
        return 0
    for setting in execution_queries.ONLY_LOOPS:
        connection.execute(setting)
    seen = [
        event_id
        for statement in (
            execution_queries.loads_that_shed(now, since),
            execution_queries.panels_that_shed(now, since),
            execution_queries.loads_as_set(now),
        )
        for event_id in connection.execute(statement).scalars()
    ]
    if seen:
        connection.execute(notify(COMMANDS))
    for event_id in sorted({each for each in seen if each is not None}):
        connection.execute(event_changed(event_id))
    return len(seen)
