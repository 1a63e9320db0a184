"""The states of a command, from the outbox to the VEN's acknowledgement: pure state transitions.

    pending ─▶ sent ─▶ acknowledged | rejected      the VEN has answered
       └────────┴────▶ expired | failed             nobody has, in time or after all attempts

The last four are final. An acknowledgement after `expired` or `failed` is recorded, and changes neither the
status nor its consequences.

A broker that has confirmed an attempt may queue it for a VEN that is offline (`queued_since`). The next
attempt follows only after the VEN was heard again and had time to answer: its queue never holds two.
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
"""PUBACK reason code of a message that the broker has neither delivered nor queued."""

BROKEN = "the connection to the broker ended before it had confirmed the command"
CLOSED_AT = "the broker closes the connection at this command"
BAD_TOPIC = "the VEN's id cannot be part of a topic"
AWAY = "the VEN was offline, and MQTT 3.1.1 has no expiry: not sent, as it could arrive too late"

MOST_INTERRUPTIONS = 5
"""Connections in a row that may end while a command is published alone, before it counts as refused."""

LONGEST_LOOK = timedelta(seconds=60)
"""Longest interval at which a command checks whether its offline VEN was heard; it doubles up to this."""


class RetryPolicy(Struct, frozen=True):
    """Exponential back-off between attempts without an acknowledgement, and the most attempts."""

    first: timedelta
    longest: timedelta
    most_attempts: int

    def after(self, attempts: int) -> timedelta:
        """Return the pause after so many attempts: it doubles with each."""
        doublings = min(max(attempts - 1, 0), 32)
        return min(self.first * int(2**doublings), self.longest)


class Due(Struct, frozen=True):
    """A command that a dispatcher has claimed; `data` is JSON.

    `interruptions`: attempts in a row, with this command alone, at which the connection ended.
    `heard_at` and `is_offline` describe its VEN.
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
    """Return the command after the broker's PUBACK of an attempt made at `sent_at`."""
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
    """Return a command unconfirmed when the connection ended: whether the VEN has it is unknown.

    If it `is_alone`, the command may be the cause; after `MOST_INTERRUPTIONS` that counts as a refusal.
    """
    tried = _tried(command, sent_at, policy)
    if not is_alone:
        return replace(tried, error=BROKEN)
    tried = replace(tried, interruptions=command.interruptions + 1, error=CLOSED_AT)
    return replace(tried, status="failed") if tried.interruptions >= MOST_INTERRUPTIONS else tried


def unpublishable(command: Due, reason: str) -> Due:
    """Return a command that cannot be published, as failed."""
    return replace(command, status="failed", error=reason)


def given_up(command: Due, now: datetime, policy: RetryPolicy) -> Due | None:
    """Return a command as expired or failed if no further attempt is due; None if one is."""
    if now >= command.expires_at:
        return replace(command, status="expired", error=command.error or _unanswered(command))
    if command.attempts >= policy.most_attempts:
        return replace(command, status="failed", error=command.error or _unanswered(command))
    if not is_topic_level(command.ven_id):
        return unpublishable(command, BAD_TOPIC)
    return None


def postponed(command: Due, now: datetime, policy: RetryPolicy, *, has_expiry: bool) -> Due | None:
    """Return a command postponed until its VEN is heard; None if an attempt may be made now.

    Without `has_expiry` (MQTT 3.1.1) a message in the broker's queue would outlive its expiry: nothing is
    sent to an offline VEN until it is heard.
    """
    if command.queued_since is not None:
        if command.heard_at is not None and command.heard_at >= command.queued_since + policy.first:
            return _at(replace(command, queued_since=None), now + policy.first)
        return _at(command, now + _look_after(now - command.queued_since, policy))
    if command.is_offline and not has_expiry:
        return _at(replace(command, error=AWAY), now + _look_after(now - command.created_at, policy))
    return None


def is_topic_level(ven_id: str) -> bool:
    """Return whether an id can be one level of a topic to publish on."""
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
