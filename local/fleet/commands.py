"""What VENs do when the gateway tells them something."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from local.fleet.events import Event
from local.fleet.household import Household
from local.fleet.messages import Message, acknowledgement


class Envelope(msgspec.Struct, rename="camel"):
    """A command on `ven/cmd/{venId}`."""

    op: str
    ven_id: str
    correlation_id: str | None = None
    data: dict[str, Any] = msgspec.field(default_factory=dict)


class Commands:
    """The events that VENs were told of. The one thing about the fleet that no seed foretells."""

    def __init__(self, homes: Sequence[Household], clock: Callable[[], float]) -> None:
        self._homes = {home.ven_id: home for home in homes}
        self._clock = clock
        self._told: dict[str, tuple[Event, ...]] = {}

    def told(self, ven_id: str) -> tuple[Event, ...]:
        return self._told.get(ven_id, ())

    def handle(self, payload: bytes) -> Message | None:
        """Do what a command says; the acknowledgement, or None where nobody of ours is meant."""
        try:
            command = msgspec.json.decode(payload, type=Envelope)
        except msgspec.DecodeError:
            return None
        home = self._homes.get(command.ven_id)
        if home is None:
            return None
        try:
            answer = self._obey(home, command)
        except (KeyError, TypeError, ValueError) as error:
            answer = {"status": "error", "message": f"cannot read data: {error!r}"}
        body = {
            "op": command.op,
            "correlationId": command.correlation_id,
            "venId": home.ven_id,
            "ts": self._clock(),
        }
        return acknowledgement(home.ven_id, body | answer)

    def _obey(self, home: Household, command: Envelope) -> dict[str, Any]:
        match command.op:
            case "event":
                return self._join(home, command.data)
            case "restore":
                return self._restore(home, command.data.get("event_id"))
            case "ping":
                return {"status": "success", "data": {"pong": True, "ts": self._clock()}}
        return {"status": "rejected", "message": f"this simulated VEN does not know {command.op}"}

    def _join(self, home: Household, data: dict[str, Any]) -> dict[str, Any]:
        """Follow an event from now on, and say what it gives at its start."""
        event = _event(data, self._clock())
        others = tuple(known for known in self.told(home.ven_id) if known.event_id != event.event_id)
        self._told[home.ven_id] = (event, *others)
        reading = home.read(max(event.begin, self._clock()), (event,))
        shedding = [load for load in reading.loads if load.shed_kw]
        return {
            "status": "accepted",
            "event_id": event.event_id,
            "requested_shed_kw": event.requested_kw,
            "actual_shed_kw": reading.shed_kw,
            "circuits_curtailed": [{"id": load.load.load_id, "shed_kw": load.shed_kw} for load in shedding],
            "data": {"event_id": event.event_id},
        }

    def _restore(self, home: Household, event_id: str | None) -> dict[str, Any]:
        """Forget one event, or all."""
        kept = (
            event for event in self.told(home.ven_id) if event_id is not None and event.event_id != event_id
        )
        self._told[home.ven_id] = tuple(kept)
        return {"status": "success", "event_id": event_id}


def _event(data: dict[str, Any], now: float) -> Event:
    begin = float(data.get("start_ts") or now)
    end = float(data["end_ts"]) if data.get("end_ts") is not None else begin + float(data["duration_s"])
    return Event(str(data["event_id"]), begin, end, float(data["requestedReductionKw"]))
