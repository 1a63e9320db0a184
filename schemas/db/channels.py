"""The channels of PostgreSQL's NOTIFY. Each is backed by a poll, for missed notifications."""

from typing import Literal

from sqlalchemy import Select, func, select

TOTALS = "gridgate_totals"
"""The network's totals were refreshed, or the registry was changed; no payload."""

EVENTS = "gridgate_events"
"""An event was created or changed, or has changed its status; the payload is its id."""

COMMANDS = "gridgate_commands"
"""The outbox has a new command, or a command's status has changed; no payload."""

CREDENTIALS = "gridgate_credentials"
"""A VEN's credential has a pending change, or was applied at the broker; no payload."""

LIVE = "gridgate_live"
"""A VEN's status or an event has changed, for live streams; no payload."""

KEYS = "gridgate_keys"
"""An API key was created or revoked; no payload."""


REPORTS = "gridgate_reports"
"""`report_inbox` has a new report of an OpenADR client; no payload."""


OPENADR_MESSAGES = "gridgate_openadr_messages"
"""`openadr_messages` has a new notification for the broker; no payload."""


OPENADR = "gridgate_openadr"
"""An OpenADR list has changed; the payload is `kind:id`. Kinds: `object` (an OpenADR event), `event` (a
Gridgate event, whose shares may have changed), `client` (its grants). Empty: anything may have changed.
"""

LONGEST_PAYLOAD = 7_000
"""Longest payload, bytes; PostgreSQL accepts less than 8,000."""


def event_changed(event_id: str) -> Select[object, object]:
    """Notify listeners of a changed event, and of the OpenADR lists that contain it."""
    return select(
        func.pg_notify(EVENTS, event_id), func.pg_notify(OPENADR, _openadr_payload("event", event_id))
    )


def openadr_changed(kind: Literal["object", "client"], changed_id: str) -> Select[object]:
    """Notify listeners of a changed OpenADR object, or of a client with changed grants."""
    return notify(OPENADR, _openadr_payload(kind, changed_id))


def _openadr_payload(kind: str, changed_id: str) -> str:
    payload = f"{kind}:{changed_id}"
    return payload if len(payload.encode()) <= LONGEST_PAYLOAD else ""


def notify(channel: str, payload: str = "") -> Select[object]:
    """Notify the channel's listeners when the transaction commits; the same payload arrives once."""
    return select(func.pg_notify(channel, payload))
