"""The channels of PostgreSQL's NOTIFY. A poll stands behind each, for notifications that are missed."""

from sqlalchemy import Select, func, select

TOTALS = "gridgate_totals"
"""The jobs have replaced the network's totals, or somebody has changed the registry; no payload."""

EVENTS = "gridgate_events"
"""An event was made, changed or moved on; the payload is its id."""

COMMANDS = "gridgate_commands"
"""The outbox has a new command, or a command's status has changed; no payload."""

CREDENTIALS = "gridgate_credentials"
"""The credential of a VEN is to change at the broker, or has; no payload."""

LIVE = "gridgate_live"
"""A VEN's status or an event has changed: live streams have something to send; no payload."""

KEYS = "gridgate_keys"
"""An API key was made or revoked; no payload."""


REPORTS = "gridgate_reports"
"""`report_inbox` has a report of an OpenADR client that is to be stored; no payload."""


def notify(channel: str, payload: str = "") -> Select[object]:
    """Notify the channel's listeners when the transaction commits; the same payload arrives once."""
    return select(func.pg_notify(channel, payload))
