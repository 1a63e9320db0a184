"""What a fleet hears on `ven/cmd/{venId}`, and the orders that have come of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from local.fleet.answers import Result, acknowledgement
from local.fleet.conduct import Conduct
from local.fleet.household import Household
from local.fleet.messages import Arrival
from local.fleet.obedience import Telling, obey
from local.fleet.orders import NO_ORDERS, Orders
from local.fleet.reports import Reporter

_REMEMBERED = 100_000


class Envelope(msgspec.Struct, rename="camel"):
    """A command on `ven/cmd/{venId}`."""

    op: str
    ven_id: str
    correlation_id: str | None = None
    data: dict[str, Any] = msgspec.field(default_factory=dict)


@dataclass(frozen=True)
class Told:
    """What came of a command. `answers`: its acknowledgement as it arrives: not at all, once, or twice."""

    ven_id: str
    answers: Sequence[Arrival]
    has_other_interval: bool


class Commands:
    """The orders of every VEN. No seed foretells them; they end with the process."""

    def __init__(self, reporters: Sequence[Reporter], conduct: Conduct, clock: Callable[[], float]) -> None:
        self._reporters = {reporter.home.ven_id: reporter for reporter in reporters}
        self._conduct = conduct
        self._clock = clock
        self._orders: dict[str, Orders] = {}
        self._answered: dict[tuple[str, str], Told] = {}

    def orders(self, ven_id: str) -> Orders:
        return self._orders.get(ven_id, NO_ORDERS)

    def handle(self, payload: bytes) -> Told | None:
        """Do what a command says; None where nobody of ours hears it.

        A command that comes again changes nothing, and is answered with the same words.
        """
        try:
            command = msgspec.json.decode(payload, type=Envelope)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        reporter = self._reporters.get(command.ven_id)
        if reporter is None or self._conduct.is_deaf(reporter.home):
            return None
        key = (command.ven_id, command.correlation_id or "")
        if command.correlation_id is not None and key in self._answered:
            return replace(self._answered[key], has_other_interval=False)
        return self._remember(key, self._obey(reporter, command))

    def _obey(self, reporter: Reporter, command: Envelope) -> Told:
        home, now = reporter.home, self._clock()
        before = self.orders(home.ven_id)
        telling = Telling(home, before, command.data, now, self._conduct, reporter.interval_s(before))
        after, result = obey(command.op, telling)
        self._orders[home.ven_id] = after
        has_other_interval = reporter.interval_s(after) != reporter.interval_s(before)
        return Told(home.ven_id, self._answers(home, command, result, now), has_other_interval)

    def _answers(self, home: Household, command: Envelope, result: Result, now: float) -> Sequence[Arrival]:
        times = [
            now + delay_s for delay_s in self._conduct.answer_delays_s(home, command.correlation_id or "")
        ]
        if not times:
            return ()
        answer = acknowledgement(home, command.op, command.correlation_id, result, times[0])
        return [Arrival(at, answer) for at in times]

    def _remember(self, key: tuple[str, str], told: Told) -> Told:
        self._answered[key] = told
        if len(self._answered) > _REMEMBERED:
            del self._answered[next(iter(self._answered))]
        return told
