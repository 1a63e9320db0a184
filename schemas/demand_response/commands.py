"""Commands to VENs: rows of the outbox, written by serving and jobs, and their form as messages."""

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Literal, TypedDict

Op = Literal["setLoad", "shedLoad", "shedPanel", "event", "restore", "set", "setConfig", "get", "ping"]


class NewCommand(TypedDict):
    """A new row of `commands`; its data is not encoded."""

    ven_id: str
    command_id: str
    op: Op
    load_id: str | None
    event_id: str | None
    data: dict[str, object]
    status: str
    attempts: int
    interruptions: int
    created_at: datetime
    next_attempt_at: datetime
    expires_at: datetime


def new_command(
    op: Op,
    ven_id: str,
    data: Mapping[str, object],
    *,
    now: datetime,
    expires_at: datetime,
) -> NewCommand:
    """Return a row of `commands`: due now, expiring at `expires_at`; its id is the correlation id.

    Its load and event are those named in its data.
    """
    return {
        "ven_id": ven_id,
        "command_id": str(uuid.uuid4()),
        "op": op,
        "load_id": _text(data, "loadId"),
        "event_id": _text(data, "event_id") or _text(data, "eventId"),
        "data": dict(data),
        "status": "pending",
        "attempts": 0,
        "interruptions": 0,
        "created_at": now,
        "next_attempt_at": now,
        "expires_at": expires_at,
    }


def _text(data: Mapping[str, object], name: str) -> str | None:
    value = data.get(name)
    return value if isinstance(value, str) else None


def envelope(
    op: str,
    ven_id: str,
    command_id: str,
    data: Mapping[str, object],
    *,
    issued_at: datetime,
    expires_at: datetime,
) -> dict[str, object]:
    """Return the message on `ven/cmd/{venId}` of an attempt at `issued_at`; times in Unix seconds."""
    return {
        "op": op,
        "correlationId": command_id,
        "venId": ven_id,
        "issued_ts": issued_at.timestamp(),
        "expires_ts": expires_at.timestamp(),
        "data": data,
    }
