"""Advisory locks by name, for mutual exclusion. Each is released at the end of its transaction."""

from sqlalchemy import Select, func, literal, select

EVENTS = "events"
"""Advances events, allocates shares, or tracks participation."""

NEW_EVENT = "new event"
"""Writes an event: overlaps are checked one event at a time."""

SIGNING_KEY = "signing key"
"""Creates a key that signs OpenADR tokens."""

PARTITIONS = "partitions"
"""Creates, fills or merges partitions of the raw tables."""

ARCHIVE = "archive"
"""Writes to the archive of closed days."""

PRESENCE = "presence"
TOTALS = "totals"
ENERGY = "energy"
FORECAST = "forecast"
PROGRESS = "progress"
SETTLEMENT = "settlement"

CREDENTIALS = "credentials"
"""Applies credentials at the broker, held by one session, so that changes stay in order."""

ALARMS = "alarms"
"""Evaluates the conditions of alarms."""

WEBHOOKS = "webhooks"
"""Creates a webhook: their number is limited."""

OPENADR_MESSAGES = "openadr messages"
"""Publishes OpenADR notifications, by one program at a time, so that they stay in order."""

LIVE_CHANGES = "live changes"
"""Numbers the changes that live streams send."""


PRECONDITIONS = "preconditions"
"""The namespace of locks of single resources: to check a precondition and then change the resource."""


def lane(name: str) -> str:
    """Return the name of a lane's lock: shared by its workers, exclusive to rebuild its tables."""
    return f"lane {name}"


def exclusive(name: str) -> Select[object]:
    """Wait for the lock of this name, and hold it to the end of the transaction."""
    return select(func.pg_advisory_xact_lock(func.hashtext(literal(name))))


def exclusive_within(namespace: str, name: str) -> Select[object]:
    """Like `exclusive`, for names in a namespace that cannot collide with other kinds of locks."""
    return select(func.pg_advisory_xact_lock(func.hashtext(literal(namespace)), func.hashtext(literal(name))))


def shared(name: str) -> Select[object]:
    """Hold the lock in shared mode; waits for an exclusive holder."""
    return select(func.pg_advisory_xact_lock_shared(func.hashtext(literal(name))))


def try_exclusive(name: str) -> Select[bool]:
    """Take the lock if it is free; false if it is held."""
    return select(func.pg_try_advisory_xact_lock(func.hashtext(literal(name))))
