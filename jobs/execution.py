"""What VENs do of what they were told: seen in their telemetry, whatever they have answered."""

from datetime import datetime

from sqlalchemy import Connection

from jobs import queries
from schemas.channels import COMMANDS, EVENTS


def see_executions(connection: Connection, now: datetime) -> int:
    """Date the commands that telemetry shows to be obeyed; answers their number."""
    seen = [
        event_id
        for statement in (
            queries.loads_that_shed(now),
            queries.panels_that_shed(now),
            queries.loads_as_set(now),
        )
        for event_id in connection.execute(statement).scalars()
    ]
    if seen:
        connection.execute(queries.notify(COMMANDS))
    for event_id in sorted({each for each in seen if each is not None}):
        connection.execute(queries.notify(EVENTS, event_id))
    return len(seen)
