"""Disk quotas: rejected messages by age and bytes; statuses, alarms and OpenADR reports by age."""

from datetime import datetime, timedelta

from sqlalchemy import Connection

from jobs.queries import alarms as alarm_queries
from jobs.queries import retention as retention_queries
from jobs.queries import trimming as queries
from jobs.queries import webhooks as webhook_queries
from jobs.storage.retention import forget_oldest
from schemas.tables.alarms import alarms
from schemas.tables.ledger import rejected_messages
from schemas.tables.openadr import openadr_messages, openadr_reports
from schemas.tables.raw import ven_statuses
from schemas.tables.webhooks import webhook_deliveries

MOST_ROWS = 500_000
"""Most rows of a table that one run deletes."""

MESSAGES_KEPT = timedelta(days=1)


def trim_rejected(connection: Connection, now: datetime, retention: timedelta, most_bytes: int) -> int:
    """Delete rejected messages that are too old, and the oldest ones beyond a size; returns how many."""
    old = queries.rejected_before(now - retention)
    trimmed = connection.execute(retention_queries.forget(rejected_messages, old, MOST_ROWS)).rowcount
    if connection.execute(queries.SIZE_OF_REJECTED).scalar_one() <= most_bytes:
        return trimmed  # the size includes indexes and free space, so the rows alone are within the limit
    newest = connection.execute(queries.newest_rejected_beyond(most_bytes)).scalar_one()
    if newest is not None:
        beyond = queries.rejected_up_to(newest)
        trimmed += connection.execute(retention_queries.forget(rejected_messages, beyond, MOST_ROWS)).rowcount
    return trimmed


def trim_alarms(connection: Connection, now: datetime, retention: timedelta) -> int:
    """Delete alarms that were cleared long ago; returns how many."""
    old = alarm_queries.cleared_before(now - retention)
    return connection.execute(retention_queries.forget(alarms, old, MOST_ROWS)).rowcount


def trim_openadr_reports(connection: Connection, now: datetime, retention: timedelta) -> int:
    """Delete stored OpenADR reports whose last change is too old; their measurements stay."""
    old = queries.openadr_reports_before(now - retention)
    return connection.execute(retention_queries.forget(openadr_reports, old, MOST_ROWS)).rowcount


def trim_openadr_messages(connection: Connection, now: datetime) -> int:
    """Delete notifications that could not be published for so long that they are obsolete."""
    old = queries.openadr_messages_before(now - MESSAGES_KEPT)
    return connection.execute(retention_queries.forget(openadr_messages, old, MOST_ROWS)).rowcount


def trim_webhooks(connection: Connection, now: datetime, retention: timedelta) -> int:
    """Delete deliveries of webhooks that were closed long ago, and those of disabled webhooks."""
    deleted = 0
    for rows in (
        webhook_queries.old_deliveries(now - retention),
        webhook_queries.surplus_deliveries(now - retention),
    ):
        deleted += connection.execute(retention_queries.forget(webhook_deliveries, rows, MOST_ROWS)).rowcount
    return deleted


def trim_statuses(connection: Connection, now: datetime, retention: timedelta) -> int:
    """Delete old transitions, but for the newest of each VEN, which is its status; returns how many."""
    outdated = queries.superseded_statuses(now - retention)
    return forget_oldest(connection, ven_statuses, "ts", outdated, MOST_ROWS)
