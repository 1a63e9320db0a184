"""Terminates sessions of programs that are frozen within a statement, and keep their locks."""

from datetime import datetime, timedelta

import structlog
from sqlalchemy import Connection

from jobs.queries import running as running_queries

PROGRAMS = ("gridgate-ingest", "gridgate-commands", "gridgate-jobs", "gridgate-serving")
FROZEN_AFTER = timedelta(seconds=30)
"""Longer than a running program takes to read a result, or to send the rows of a COPY."""


def end_frozen_sessions(connection: Connection, _now: datetime, after: timedelta) -> int:
    """Terminate sessions whose client has neither read nor sent anything for a while; returns how many."""
    ended = connection.execute(running_queries.end_frozen_sessions(PROGRAMS, after)).all()
    for program, _ in ended:
        structlog.get_logger().warning("frozen_session_ended", program=program)
    return len(ended)
