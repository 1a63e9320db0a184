"""The present: every VEN reports when its time comes."""

import heapq
import queue
from collections.abc import Callable

from local.fleet.commands import Commands
from local.fleet.messages import Message, status
from local.fleet.publisher import Publisher
from local.fleet.reports import Reporter

_LONGEST_GAP_S = 900.0
"""A fleet that could not report for longer than this (the lid was closed) does not make up for it."""


class LiveFleet:
    """Publishes reports at their device times, and late ones late, until it is interrupted."""

    def __init__(
        self, reporters: list[Reporter], publisher: Publisher, commands: Commands, clock: Callable[[], float]
    ) -> None:
        self._reporters = reporters
        self._publisher = publisher
        self._commands = commands
        self._clock = clock
        self._answers: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._queue: list[tuple[float, int, Reporter | Message]] = []
        self._count = 0

    def run(self) -> None:
        """Go online, report, and go offline when interrupted."""
        now = self._clock()
        for reporter in self._reporters:
            self._publisher.publish(status(reporter.home, "online", now))
            self._push(reporter.next_after(now), reporter)
        first = {reporter.home.ven_id for reporter in self._reporters}
        try:
            while True:
                self._step(first)
        finally:
            self._go_offline()

    def obey(self, command: bytes) -> None:
        """Take a command, from any thread; its acknowledgement goes out from ours."""
        answer = self._commands.handle(command)
        if answer is not None:
            self._answers.put(answer)

    def _step(self, first: set[str]) -> None:
        """Answer a command, or wait for what is due next and do it."""
        due = self._queue[0][0]
        try:
            self._publisher.publish(self._answers.get(timeout=max(0.0, due - self._clock())))
        except queue.Empty:
            item = heapq.heappop(self._queue)[2]
            if isinstance(item, Message):
                self._publisher.publish(item)
            else:
                self._report(item, due, first)

    def _report(self, reporter: Reporter, ts: float, first: set[str]) -> None:
        """Line up what a VEN says at `ts`. Who is in `first` describes its loads at once."""
        ven_id = reporter.home.ven_id
        for arrival in reporter.arrivals(ts, self._commands.told(ven_id), describe=ven_id in first):
            self._push(arrival.at, arrival.message)
        first.discard(ven_id)
        self._push(reporter.next_after(max(ts, self._clock() - _LONGEST_GAP_S)), reporter)

    def _push(self, due: float, item: Reporter | Message) -> None:
        self._count += 1  # breaks ties, so that items need no order
        heapq.heappush(self._queue, (due, self._count, item))

    def _go_offline(self) -> None:
        now = self._clock()
        for reporter in self._reporters:
            self._publisher.publish(status(reporter.home, "offline", now))
        self._publisher.wait_acknowledged(timeout_s=3)
