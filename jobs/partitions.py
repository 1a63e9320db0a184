"""Partitions ahead of time, so that ingest need not make them at midnight."""

from datetime import datetime, timedelta

from sqlalchemy import Connection

from jobs.queries import running as running_queries

DAYS_AHEAD = 3


def ensure_coming_days(connection: Connection, now: datetime) -> int:
    """Make today's partitions and those of the next days; answers the number of days."""
    days = [now.date() + timedelta(days=ahead) for ahead in range(DAYS_AHEAD + 1)]
    connection.execute(running_queries.ensure_partitions(days))
    return len(days)
