"""Advisory locks by name: who must not run at the same time as whom. Each ends with its transaction."""

from sqlalchemy import Select, func, literal, select

EVENTS = "events"
"""To move events on, share them out, or follow participations."""

NEW_EVENT = "new event"
"""To write an event: overlaps are checked one event at a time."""

SIGNING_KEY = "signing key"
"""To make a key that signs tokens of OpenADR."""

PARTITIONS = "partitions"
"""To make, fill or merge partitions of the raw tables."""

ARCHIVE = "archive"
"""Whoever writes to the archive of closed days."""

PRESENCE = "presence"
TOTALS = "totals"
ENERGY = "energy"
FORECAST = "forecast"
PROGRESS = "progress"
SETTLEMENT = "settlement"

CREDENTIALS = "credentials"
"""Held by the session that gives credentials to the broker: two would overtake each other."""

ALARMS = "alarms"
"""To evaluate the conditions of alarms."""

WEBHOOKS = "webhooks"
"""To make a webhook: they are counted."""

LIVE_CHANGES = "live changes"
"""To number the changes that live streams send."""


PRECONDITIONS = "preconditions"
"""The namespace of locks of single resources: to check a precondition and then change the resource."""


def lane(name: str) -> str:
    """The lock of a lane: shared by its workers, exclusive to rebuild its tables."""
    return f"lane {name}"


def exclusive(name: str) -> Select[object]:
    """Wait for the lock of this name, and hold it to the end of the transaction."""
    return select(func.pg_advisory_xact_lock(func.hashtext(literal(name))))


def exclusive_within(namespace: str, name: str) -> Select[object]:
    """As `exclusive`, for names of which there are many: no other kind of lock can collide with them."""
    return select(func.pg_advisory_xact_lock(func.hashtext(literal(namespace)), func.hashtext(literal(name))))


def shared(name: str) -> Select[object]:
    """Hold the lock in shared mode; waits for an exclusive holder."""
    return select(func.pg_advisory_xact_lock_shared(func.hashtext(literal(name))))


def try_exclusive(name: str) -> Select[bool]:
    """Take the lock if it is free; false if somebody else holds it."""
    return select(func.pg_try_advisory_xact_lock(func.hashtext(literal(name))))
