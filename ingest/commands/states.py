"""The life of a command, from the outbox to the VEN's answer. Pure: what has happened, and what follows.

    pending ─▶ sent ─▶ acknowledged | rejected      the VEN has answered
       └────────┴────▶ expired | failed             nobody has, in time or after all attempts

The four at the end are final. An answer that comes after `expired` or `failed` is written down, and changes
nothing else: what followed from the end of a command stays.

A broker that has confirmed an attempt may keep it for a VEN that is away (`queued_since`). Another attempt
follows only once the VEN has been heard since, and has had time to answer: it never finds two in its queue.
"""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

REFUSED = {
    0x87: "the broker does not let us publish to this VEN: see its ACL",
    0x90: "the broker does not accept the topic",
    0x95: "the command is larger than the broker's maximum packet size",
    0x99: "the broker does not accept the payload",
}
"""Reason codes of PUBACK (MQTT 5, 3.4.2.1) that another attempt would not change."""

FIRST_REFUSAL = 0x80
NO_SUBSCRIBER = 0x10
"""Reason code: the broker has confirmed the message, and neither delivered nor queued it."""

BROKEN = "the connection to the broker ended before it had confirmed the command"
CLOSED_AT = "the broker closes the connection at this command"
BAD_TOPIC = "the VEN's id cannot be part of a topic"
AWAY = "the VEN was offline, and MQTT 3.1.1 has no expiry: nothing was sent that it could get too late"

MOST_INTERRUPTIONS = 5
"""So often in a row a command, published alone, may coincide with the end of a connection."""

LONGEST_LOOK = timedelta(seconds=60)
"""For a VEN that is away we look after as long as we have waited, at most this."""


class RetryPolicy(Struct, frozen=True):
    """How long to wait for an answer before the next attempt, and how many are worth it."""

    first: timedelta
    longest: timedelta
    most_attempts: int

    def after(self, attempts: int) -> timedelta:
        """Twice as long after each attempt."""
        doublings = min(max(attempts - 1, 0), 32)
        return min(self.first * int(2**doublings), self.longest)


class Due(Struct, frozen=True):
    """A command that a dispatcher has in hand; `data` is JSON.

    `interruptions`: attempts in a row, made for this command alone, at which the connection ended.
    `heard_at` and `is_offline` are what is known of its VEN.
    """

    ven_id: str
    command_id: str
    op: str
    data: str
    status: str
    attempts: int
    created_at: datetime
    next_attempt_at: datetime
    expires_at: datetime
    sent_at: datetime | None = None
    error: str | None = None
    queued_since: datetime | None = None
    interruptions: int = 0
    heard_at: datetime | None = None
    is_offline: bool = False


def published(command: Due, code: int, sent_at: datetime, policy: RetryPolicy) -> Due:
    """The broker has answered an attempt that was made at `sent_at`."""
    tried = replace(_tried(command, sent_at, policy), interruptions=0)
    if code in REFUSED:
        return replace(tried, status="failed", error=REFUSED[code])
    if code >= FIRST_REFUSAL:
        return replace(tried, error=f"the broker refuses for now: reason code {code}")
    return replace(
        tried,
        status="sent",
        sent_at=command.sent_at or sent_at,
        queued_since=None if code == NO_SUBSCRIBER else sent_at,
        error=None,
    )


def interrupted(command: Due, sent_at: datetime, policy: RetryPolicy, *, is_alone: bool) -> Due:
    """The connection ended before the broker had confirmed: the VEN may have the command, or not.

    Where it `is_alone`, the command itself may be the reason; in the end that counts as a refusal.
    """
    tried = _tried(command, sent_at, policy)
    if not is_alone:
        return replace(tried, error=BROKEN)
    tried = replace(tried, interruptions=command.interruptions + 1, error=CLOSED_AT)
    return replace(tried, status="failed") if tried.interruptions >= MOST_INTERRUPTIONS else tried


def unpublishable(command: Due, reason: str) -> Due:
    """No attempt can be made."""
    return replace(command, status="failed", error=reason)


def given_up(command: Due, now: datetime, policy: RetryPolicy) -> Due | None:
    """The end of a command that is not worth an attempt any more; None if it is worth one."""
    if now >= command.expires_at:
        return replace(command, status="expired", error=command.error or _unanswered(command))
    if command.attempts >= policy.most_attempts:
        return replace(command, status="failed", error=command.error or _unanswered(command))
    if not is_topic_level(command.ven_id):
        return unpublishable(command, BAD_TOPIC)
    return None


def postponed(command: Due, now: datetime, policy: RetryPolicy, *, has_expiry: bool) -> Due | None:
    """A command that has to wait for its VEN; None if an attempt may be made now.

    Without `has_expiry` (MQTT 3.1.1) a message that the broker keeps would outlive its use: a VEN that is
    offline is sent nothing until it is heard.
    """
    if command.queued_since is not None:
        if command.heard_at is not None and command.heard_at >= command.queued_since + policy.first:
            return _at(replace(command, queued_since=None), now + policy.first)
        return _at(command, now + _look_after(now - command.queued_since, policy))
    if command.is_offline and not has_expiry:
        return _at(replace(command, error=AWAY), now + _look_after(now - command.created_at, policy))
    return None


def is_topic_level(ven_id: str) -> bool:
    """Whether an id can stand in a topic to publish on, as one level of it."""
    return not any(character in ven_id for character in "/+#\0")


def _tried(command: Due, sent_at: datetime, policy: RetryPolicy) -> Due:
    attempts = command.attempts + 1
    return _at(replace(command, attempts=attempts), sent_at + policy.after(attempts))


def _at(command: Due, next_attempt_at: datetime) -> Due:
    return replace(command, next_attempt_at=min(next_attempt_at, command.expires_at))


def _look_after(waited: timedelta, policy: RetryPolicy) -> timedelta:
    return min(max(waited, policy.first), max(policy.first, LONGEST_LOOK))


def _unanswered(command: Due) -> str:
    if not command.attempts:
        return "the broker could not be reached in time"
    return f"no acknowledgement after {command.attempts} attempts"
