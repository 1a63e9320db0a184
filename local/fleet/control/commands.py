"""Commands to the fleet on `ven/cmd/{venId}`, and the state of each VEN."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec

from local.fleet.control.answers import Result, acknowledgement
from local.fleet.control.responses import CommandContext, respond
from local.fleet.homes.behaviour import ResponseBehaviour
from local.fleet.homes.control_state import INITIAL_STATE, ControlState
from local.fleet.homes.household import Household
from local.fleet.telemetry.messages import Arrival
from local.fleet.telemetry.reports import Reporter

_MOST_REMEMBERED = 100_000


class Envelope(msgspec.Struct, rename="camel"):
    """A command on `ven/cmd/{venId}`."""

    op: str
    ven_id: str
    correlation_id: str | None = None
    data: dict[str, object] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class HandledCommand:
    """The outcome of a command. `answers`: each arrival of its acknowledgement: none, one, or two."""

    ven_id: str
    answers: Sequence[Arrival]
    has_other_interval: bool


class CommandHandler:
    """Handles commands and keeps the state of every VEN, as long as the process lives."""

    def __init__(
        self, reporters: Sequence[Reporter], behaviour: ResponseBehaviour, clock: Callable[[], float]
    ) -> None:
        self._reporters = {reporter.home.ven_id: reporter for reporter in reporters}
        self._behaviour = behaviour
        self._clock = clock
        self._states: dict[str, ControlState] = {}
        self._handled_commands: dict[tuple[str, str], HandledCommand] = {}

    def state(self, ven_id: str) -> ControlState:
        return self._states.get(ven_id, INITIAL_STATE)

    def handle(self, payload: bytes) -> HandledCommand | None:
        """Execute a command; None if it is invalid, or no VEN of the fleet receives it.

        Commands are idempotent: a repeated one gets the same answer and changes nothing.
        """
        try:
            command = msgspec.json.decode(payload, type=Envelope)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        reporter = self._reporters.get(command.ven_id)
        if reporter is None or self._behaviour.is_deaf(reporter.home):
            return None
        key = (command.ven_id, command.correlation_id or "")
        if command.correlation_id is not None and key in self._handled_commands:
            return replace(self._handled_commands[key], has_other_interval=False)
        return self._remember(key, self._respond(reporter, command))

    def _respond(self, reporter: Reporter, command: Envelope) -> HandledCommand:
        home, now = reporter.home, self._clock()
        before = self.state(home.ven_id)
        context = CommandContext(
            home, before, command.data, now, self._behaviour, reporter.interval_s(before)
        )
        after, result = respond(command.op, context)
        self._states[home.ven_id] = after
        has_other_interval = reporter.interval_s(after) != reporter.interval_s(before)
        return HandledCommand(home.ven_id, self._answers(home, command, result, now), has_other_interval)

    def _answers(self, home: Household, command: Envelope, result: Result, now: float) -> Sequence[Arrival]:
        times = [
            now + delay_s for delay_s in self._behaviour.answer_delays_s(home, command.correlation_id or "")
        ]
        if not times:
            return ()
        answer = acknowledgement(home, command.op, command.correlation_id, result, times[0])
        return [Arrival(at, answer) for at in times]

    def _remember(self, key: tuple[str, str], handled: HandledCommand) -> HandledCommand:
        self._handled_commands[key] = handled
        if len(self._handled_commands) > _MOST_REMEMBERED:
            del self._handled_commands[next(iter(self._handled_commands))]
        return handled
