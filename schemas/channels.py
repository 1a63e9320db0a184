"""Who wakes whom: the channels of PostgreSQL's NOTIFY. A poll stands behind each, for what is missed."""

TOTALS = "gridgate_totals"
"""The jobs have replaced the network's totals, or somebody has changed the registry; no payload."""

EVENTS = "gridgate_events"
"""An event was made, changed or moved on; the payload is its id."""

COMMANDS = "gridgate_commands"
"""There is something in the outbox, or a command's status has changed; no payload."""

LIVE = "gridgate_live"
"""Live streams have something to tell: a VEN's status or an event has changed; no payload."""

KEYS = "gridgate_keys"
"""An API key was made or revoked; no payload."""
