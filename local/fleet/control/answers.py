"""Acknowledgements, in the forms of both generations of VENs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from local.fleet.homes.household import Household
from local.fleet.telemetry.messages import Message, dialect_of

Word = Literal["accepted", "success", "rejected", "error"]


@dataclass(frozen=True)
class Result:
    """The result of a command. `more`: fields of the newer generation alone, beside `data`."""

    word: Word
    data: Mapping[str, object] = field(default_factory=dict)
    more: Mapping[str, object] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return self.word in {"accepted", "success"}


def acknowledgement(
    home: Household, op: str, correlation_id: str | None, result: Result, ts: float
) -> Message:
    """Older VENs say `ok`, newer ones `status`."""
    is_old = dialect_of(home).is_shared
    verdict = {"ok": result.is_good} if is_old else {"status": result.word, **result.more}
    body = {"op": op, "correlationId": correlation_id, "venId": home.ven_id, "ts": round(ts, 3)}
    return Message(f"ven/ack/{home.ven_id}", json.dumps(body | verdict | {"data": result.data}).encode())
