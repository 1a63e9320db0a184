"""The payload and expiry of a command, with its remaining time at the instant of the attempt. Pure."""

import math
from collections.abc import Mapping
from datetime import datetime

import msgspec

from ingest.commands.states import Due
from schemas.demand_response.commands import envelope

DURATIONS = ("durationS", "duration_s")
SHORTEST_S = 0.001


def payload(command: Due, now: datetime) -> bytes:
    """Return the JSON envelope of an attempt made `now`."""
    data = remaining_data(msgspec.json.decode(command.data), command.created_at, now)
    return msgspec.json.encode(
        envelope(
            command.op,
            command.ven_id,
            command.command_id,
            data,
            issued_at=now,
            expires_at=command.expires_at,
        )
    )


def remaining_data(data: Mapping[str, object], created_at: datetime, now: datetime) -> dict[str, object]:
    """Return a command's data with its durations, in s, reduced to what remains of them `now`.

    A duration ends with `end_ts` where the command names it, else so long after the command was created.
    """
    elapsed_s = max((now - created_at).total_seconds(), 0.0)
    return {
        name: _remaining_s(value, elapsed_s, data.get("end_ts"), now) if name in DURATIONS else value
        for name, value in data.items()
    }


def expiry_s(command: Due, now: datetime) -> int:
    """Return the Message Expiry Interval: whole seconds until the command expires, at least 1."""
    return max(1, int((command.expires_at - now).total_seconds()))


def _remaining_s(value: object, elapsed_s: float, end_ts: object, now: datetime) -> object:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    left_s = min(value, end_ts - now.timestamp()) if isinstance(end_ts, int | float) else value - elapsed_s
    return max(1, math.ceil(left_s)) if isinstance(value, int) else max(SHORTEST_S, round(left_s, 3))
