"""The payload and expiry of a command, with its remaining time at the instant of the attempt. Pure."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any

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


def remaining_data(data: Mapping[str, Any], created_at: datetime, now: datetime) -> dict[str, Any]:
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


def _remaining_s(value: Any, elapsed_s: float, end_ts: Any, now: datetime) -> Any:  # noqa: ANN401 - JSON
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    left_s = value - elapsed_s if end_ts is None else min(value, end_ts - now.timestamp())
    return max(1, math.ceil(left_s)) if isinstance(value, int) else max(SHORTEST_S, round(left_s, 3))
