"""A simulated broker: messages of the homes in the order of arrival, and delivery of commands."""

import heapq
from collections.abc import Iterable, Iterator
from datetime import datetime

from analysis.sample import scenario
from local.fleet.control.commands import CommandHandler
from local.fleet.telemetry.messages import Arrival, status
from local.fleet.telemetry.reports import Reporter, fleet


class SimulatedBroker:
    """Simulates the fleet up to each requested moment, with the commands that it has received by then."""

    def __init__(self) -> None:
        self._now = scenario.BEGIN.timestamp()
        self._reporters = fleet(scenario.SEED, scenario.VENS, scenario.FLEET)
        self._commands = CommandHandler(self._reporters, scenario.BEHAVIOUR, lambda: self._now)
        self._queue: list[tuple[float, int, tuple[Reporter, float] | Arrival]] = []
        self._count = 0
        for reporter in self._reporters:
            self._enqueue([Arrival(self._now, status(reporter.home, "online", self._now))])
            self._schedule(reporter, self._now)

    def until(self, moment: datetime) -> Iterator[Arrival]:
        """Advance to a moment; gives the messages that arrive before it."""
        end = moment.timestamp()
        while self._queue[0][0] < end:
            self._now, _, due = heapq.heappop(self._queue)
            if isinstance(due, Arrival):
                yield due
            else:
                self._report(*due)
        self._now = end

    def hear(self, command: bytes) -> None:
        """Deliver a command to its VEN now, and schedule its answer."""
        handled = self._commands.handle(command)
        if handled is not None:
            self._enqueue(handled.answers)

    def _report(self, reporter: Reporter, ts: float) -> None:
        home, state = reporter.home, self._commands.state(reporter.home.ven_id)
        is_first = ts - scenario.BEGIN.timestamp() <= scenario.INTERVAL_S
        for arrival in reporter.arrivals(reporter.read(ts, state), state, describe=is_first):
            at = self._now + arrival.at - ts
            self._enqueue(Arrival(each, arrival.message) for each in scenario.arrives_at(home, at))
        self._schedule(reporter, ts)

    def _schedule(self, reporter: Reporter, after: float) -> None:
        ts = reporter.next_after(after)
        clock = scenario.CLOCKS.get(reporter.home.ven_id, scenario.RIGHT)
        self._push(clock.true_time(ts), (reporter, ts))

    def _enqueue(self, arrivals: Iterable[Arrival]) -> None:
        for arrival in arrivals:
            self._push(arrival.at, arrival)

    def _push(self, due: float, item: tuple[Reporter, float] | Arrival) -> None:
        self._count += 1  # breaks ties: items have no order
        heapq.heappush(self._queue, (due, self._count, item))
