"""The life of a command, from the outbox to the VEN's answer. Pure: what has happened, and what follows.

    pending ─▶ sent ─▶ acknowledged | rejected      the VEN has answered
       └────────┴────▶ expired | failed             nobody has, in time or after all attempts

The four at the end are final. An answer that comes after `expired` or `failed` is written down, and changes
nothing else: whoever has acted on the end of a command was not wrong to do so.
"""

from datetime import datetime, timedelta

from msgspec import Struct
from msgspec.structs import replace

REFUSED = {
    0x87: "the broker does not let us publish to this VEN: see its ACL",
    0x90: "the broker does not accept the topic",
    0x99: "the broker does not accept the payload",
}
"""Reason codes of PUBACK (MQTT 5, 3.4.2.1) that another attempt would not change."""

BROKEN = "the connection to the broker ended before it had confirmed the command"
BAD_TOPIC = "the VEN's id cannot be part of a topic"


class Patience(Struct, frozen=True):
    """How long to wait for an answer before the next attempt, and how many are worth it."""

    first: timedelta
    longest: timedelta
    most_attempts: int

    def after(self, attempts: int) -> timedelta:
        """Twice as long after each attempt."""
        doublings = min(max(attempts - 1, 0), 32)
        return min(self.first * int(2**doublings), self.longest)


class Due(Struct, frozen=True):
    """A command that a dispatcher has in hand; `data` is JSON."""

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


def published(command: Due, code: int, sent_at: datetime, patience: Patience) -> Due:
    """The broker has answered an attempt that was made at `sent_at`."""
    tried = _tried(command, sent_at, patience)
    if code in REFUSED:
        return replace(tried, status="failed", error=REFUSED[code])
    if code >= 0x80:  # noqa: PLR2004 - from here on codes refuse
        return replace(tried, error=f"the broker refuses for now: reason code {code}")
    return replace(tried, status="sent", sent_at=command.sent_at or sent_at, error=None)


def interrupted(command: Due, sent_at: datetime, patience: Patience) -> Due:
    """The connection ended before the broker had confirmed: the VEN may have the command, or not."""
    return replace(_tried(command, sent_at, patience), error=BROKEN)


def given_up(command: Due, now: datetime, patience: Patience) -> Due | None:
    """The end of a command that is not worth an attempt any more; None if it is worth one."""
    if now >= command.expires_at:
        return replace(command, status="expired", error=command.error or _unanswered(command))
    if command.attempts >= patience.most_attempts:
        return replace(command, status="failed", error=command.error or _unanswered(command))
    if not is_topic_level(command.ven_id):
        return replace(command, status="failed", error=BAD_TOPIC)
    return None


def is_topic_level(ven_id: str) -> bool:
    """Whether an id can stand in a topic to publish on, as one level of it."""
    return not any(character in ven_id for character in "/+#\0")


def _tried(command: Due, sent_at: datetime, patience: Patience) -> Due:
    attempts = command.attempts + 1
    next_attempt_at = min(sent_at + patience.after(attempts), command.expires_at)
    return replace(command, attempts=attempts, next_attempt_at=next_attempt_at)


def _unanswered(command: Due) -> str:
    if not command.attempts:
        return "the broker could not be reached in time"
    return f"no acknowledgement after {command.attempts} attempts"
