"""Runs simulated VENs of OpenADR, each at its own times: the failure of one does not stop the others."""

import heapq
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from local.fleet.homes.randomness import draw
from local.openadr.client import TryLaterError, VtnError
from local.openadr.ven import SimulatedVen

WORKERS = 8
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0

Clock = Callable[[], float]


def back_off_s(failures: int, chance: float, after_s: float = 0.0) -> float:
    """Seconds to wait after `failures` in a row (1 and up), by half of that at random.

    Args:
        failures: 1 and up.
        chance: 0 to 1.
        after_s: what the VTN asks to wait at least.
    """
    longest_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10))
    return max(after_s, 0.0) + longest_s * (1 + chance) / 2


class Turn:
    """A VEN and its failures in a row."""

    def __init__(self, ven: SimulatedVen, clock: Clock) -> None:
        self._ven = ven
        self._clock = clock
        self._failures = 0

    def take(self) -> float:
        """Let the VEN act; returns when its next turn is. No failure is raised."""
        log = structlog.get_logger().bind(ven_id=self._ven.home.ven_id)
        try:
            due = self._ven.act(self._clock())
        except TryLaterError as error:
            log.warning("openadr_vtn_busy", reason=str(error))
            return self._later(error.after_s)
        except VtnError as error:
            log.warning("openadr_request_refused", reason=str(error))
            return self._later()
        except Exception:
            log.exception("openadr_ven_failed")
            return self._later()
        self._failures = 0
        return due

    def _later(self, after_s: float = 0.0) -> float:
        self._failures += 1
        chance = draw(self._ven.home.ven_id, "pause", self._failures)
        return self._clock() + back_off_s(self._failures, chance, after_s)


class OpenAdrFleet:
    """VENs that take turns on a few threads; one VEN has one turn at a time."""

    def __init__(self, vens: Sequence[SimulatedVen], clock: Clock) -> None:
        self._turns = [Turn(ven, clock) for ven in vens]
        self._clock = clock
        self._ended_turns: queue.SimpleQueue[tuple[float, int] | None] = queue.SimpleQueue()
        self._due = [(0.0, number) for number in range(len(vens))]

    def run(self) -> None:
        """Work until `stop` is called, or an exception interrupts it."""
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="openadr-ven") as pool:
            is_running = True
            while is_running:
                self._start_due(pool)
                is_running = self._wait()

    def stop(self) -> None:
        """End after the turns of just now; from any thread."""
        self._ended_turns.put(None)

    def _start_due(self, pool: ThreadPoolExecutor) -> None:
        while self._due and self._due[0][0] <= self._clock():
            _, number = heapq.heappop(self._due)
            pool.submit(self._take, number)

    def _take(self, number: int) -> None:
        self._ended_turns.put((self._turns[number].take(), number))

    def _wait(self) -> bool:
        """Wait for the end of a turn, or for the start of the next; False when it is stopped."""
        left_s = max(0.0, self._due[0][0] - self._clock()) if self._due else None
        try:
            ended = self._ended_turns.get(timeout=left_s)
        except queue.Empty:
            return True
        if ended is not None:
            heapq.heappush(self._due, ended)
        return ended is not None
