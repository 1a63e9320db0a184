"""Advisory locks by name: who must not run at the same time as whom. Each ends with its transaction."""

from sqlalchemy import Select, func, literal, select

EVENTS = "events"
"""Whoever moves events on, shares them out, or follows participations."""

NEW_EVENT = "new event"
"""Whoever writes an event: overlaps are checked one event at a time."""

SIGNING_KEY = "signing key"
"""Whoever makes a key that signs tokens of OpenADR."""

PARTITIONS = "partitions"
"""Whoever makes, fills or merges partitions of the raw tables."""

ARCHIVE = "archive"
"""Whoever writes to the archive of closed days."""

PRESENCE = "presence"
TOTALS = "totals"
ENERGY = "energy"
FORECAST = "forecast"
PROGRESS = "progress"
SETTLEMENT = "settlement"

ALARMS = "alarms"
"""Whoever evaluates the conditions of alarms."""

WEBHOOKS = "webhooks"
"""Whoever makes a webhook: they are counted."""

LIVE_CHANGES = "live changes"
"""Whoever numbers the changes that live streams send."""


PRECONDITIONS = "preconditions"
"""The namespace of locks of single resources: whoever checks a precondition and then changes the resource."""


def lane(name: str) -> str:
    """The lock of a lane: shared by its workers, exclusive for whoever rebuilds its tables."""
    return f"lane {name}"


def exclusive(name: str) -> Select[object]:
    """Wait for the lock of this name, and hold it to the end of the transaction."""
    return select(func.pg_advisory_xact_lock(func.hashtext(literal(name))))


def exclusive_within(namespace: str, name: str) -> Select[object]:
    """As `exclusive`, for names of which there are many: no other kind of lock can collide with them."""
    return select(func.pg_advisory_xact_lock(func.hashtext(literal(namespace)), func.hashtext(literal(name))))


def shared(name: str) -> Select[object]:
    """Hold the lock together with others who share it; wait for whoever holds it exclusively."""
    return select(func.pg_advisory_xact_lock_shared(func.hashtext(literal(name))))


def try_exclusive(name: str) -> Select[bool]:
    """Take the lock if it is free; false if somebody else holds it."""
    return select(func.pg_try_advisory_xact_lock(func.hashtext(literal(name))))
