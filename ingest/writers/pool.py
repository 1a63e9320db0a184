"""All writer processes of the receiving process."""

import threading

from ingest.writers.writer import Surroundings, Writer


class WriterPool:
    """Runs a number of writers, each on a thread of its own, until `stopping` is set."""

    def __init__(self, count: int, surroundings: Surroundings) -> None:
        self._writers = [Writer(number, surroundings) for number in range(1, count + 1)]
        self._threads = [
            threading.Thread(target=writer.run, name=f"writer-{number}")
            for number, writer in enumerate(self._writers, 1)
        ]
        self._stopping = surroundings.stopping

    def trouble(self) -> str | None:
        """The first reason for being unhealthy; None while healthy."""
        return next((words for writer in self._writers if (words := writer.trouble)), None)

    def run(self) -> None:
        """Returns when all writers have ended, after the transactions that they were at."""
        for thread in self._threads:
            thread.start()
        self._stopping.wait()
        for thread in self._threads:
            thread.join()
