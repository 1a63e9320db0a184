"""All writer processes of the receiving process."""

import threading

from ingest.writers.writer import Writer, WriterContext


class WriterPool:
    """Runs a number of writers, each on a thread of its own, until `stopping` is set."""

    def __init__(self, count: int, context: WriterContext) -> None:
        self._writers = [Writer(number, context) for number in range(1, count + 1)]
        self._threads = [
            threading.Thread(target=writer.run, name=f"writer-{number}")
            for number, writer in enumerate(self._writers, 1)
        ]
        self._stopping = context.stopping

    def trouble(self) -> str | None:
        """Return the first reason for being unhealthy; None while healthy."""
        return next((words for writer in self._writers if (words := writer.trouble)), None)

    def run(self) -> None:
        """Run all writers; returns when all have ended, after their current transactions."""
        for thread in self._threads:
            thread.start()
        self._stopping.wait()
        for thread in self._threads:
            thread.join()
