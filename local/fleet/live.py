"""The live fleet: every VEN reports at its device times and carries out commands."""

import heapq
import queue
from collections.abc import Callable, Iterable, Sequence

from local.fleet.control.commands import CommandHandler
from local.fleet.homes.household import Household, HouseholdReading
from local.fleet.publisher import FleetPublisher
from local.fleet.telemetry.messages import Arrival, Message, status
from local.fleet.telemetry.reports import Reporter

_LONGEST_GAP_S = 900.0
"""Reports of a longer gap than this (the machine was suspended) are not sent afterwards."""

ReadingObserver = Callable[[Household, HouseholdReading], None]
"""Called with every reading that is reported."""


class LiveFleet:
    """Publishes reports at their device times, and delayed ones later, until it is interrupted."""

    def __init__(
        self,
        reporters: Sequence[Reporter],
        publisher: FleetPublisher,
        commands: CommandHandler,
        observer: ReadingObserver,
        clock: Callable[[], float],
    ) -> None:
        self._reporters = {reporter.home.ven_id: reporter for reporter in reporters}
        self._publisher = publisher
        self._commands = commands
        self._observer = observer
        self._clock = clock
        self._incoming_commands: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._queue: list[tuple[float, int, Reporter | Message]] = []
        self._count = 0
        self._next: dict[str, float] = {}
        self._described: dict[str, object] = {}

    def run(self) -> None:
        """Go online, report, and go offline when interrupted."""
        now = self._clock()
        for reporter in self._reporters.values():
            self._publisher.publish(status(reporter.home, "online", now))
            self._schedule(reporter, now)
        try:
            while True:
                self._step()
        finally:
            self._go_offline()

    def hear(self, command: bytes) -> None:
        """Queue a command, from any thread; the thread of `run` executes and acknowledges it."""
        self._incoming_commands.put(command)

    def _step(self) -> None:
        """Execute a command, or wait for the next message that is due and publish it."""
        due = self._queue[0][0]
        try:
            self._respond(self._incoming_commands.get(timeout=max(0.0, due - self._clock())))
        except queue.Empty:
            item = heapq.heappop(self._queue)[2]
            if isinstance(item, Message):
                self._publisher.publish(item)
            elif self._next[item.home.ven_id] == due:  # else its interval has changed since
                self._report(item, due)

    def _respond(self, command: bytes) -> None:
        handled = self._commands.handle(command)
        if handled is None:
            return
        reporter = self._reporters[handled.ven_id]
        self._enqueue(handled.answers)
        if handled.has_other_interval:
            self._schedule(reporter, self._clock())

    def _report(self, reporter: Reporter, ts: float) -> None:
        """Queue the messages of a VEN at `ts`. It describes its loads at first and after changes."""
        ven_id = reporter.home.ven_id
        state = self._commands.state(ven_id)
        reading = reporter.read(ts, state)
        describe = self._described.get(ven_id) != state.load_settings
        self._described[ven_id] = state.load_settings
        self._enqueue(reporter.arrivals(reading, state, describe=describe))
        self._observer(reporter.home, reading)
        self._schedule(reporter, max(ts, self._clock() - _LONGEST_GAP_S))

    def _schedule(self, reporter: Reporter, after: float) -> None:
        ven_id = reporter.home.ven_id
        self._next[ven_id] = reporter.next_after(after, self._commands.state(ven_id))
        self._push(self._next[ven_id], reporter)

    def _enqueue(self, arrivals: Iterable[Arrival]) -> None:
        for arrival in arrivals:
            self._push(arrival.at, arrival.message)

    def _push(self, due: float, item: Reporter | Message) -> None:
        self._count += 1  # breaks ties, so that items need no order
        heapq.heappush(self._queue, (due, self._count, item))

    def _go_offline(self) -> None:
        now = self._clock()
        for reporter in self._reporters.values():
            self._publisher.publish(status(reporter.home, "offline", now))
        self._publisher.wait_acknowledged(timeout_s=3)
