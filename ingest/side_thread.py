"""Threads beside the one that stores telemetry, which their failures never stop."""

import threading
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

import structlog

from ingest.receiving.broker import FIRST_PAUSE_S, LONGEST_PAUSE_S


class SideThread(ABC):
    """Repeats its work until it is stopped, with exponential back-off after failures.

    A context manager: the thread runs while the context lasts.
    """

    def __init__(self, name: str) -> None:
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name=name)
        self._pause_s = FIRST_PAUSE_S
        self._log = structlog.get_logger()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after the current step, such as a transaction."""
        self._stopping.set()
        self._thread.join()

    def run(self) -> None:
        """Work until `stop` is called."""
        while not self._stopping.is_set():
            self._attempt()
            self._stopping.wait(self._pause_s)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _reset_pause(self) -> None:
        """Reset the back-off; called by an attempt once it works."""
        self._pause_s = FIRST_PAUSE_S

    @abstractmethod
    def _attempt(self) -> None:
        """Work until something fails, or `_stopping` is set; log the failure, and raise nothing."""
