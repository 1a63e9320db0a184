"""A thread that checks the database every few seconds, even in an idle program."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import psycopg

from schemas.db.answers import AnswerMonitor
from schemas.db.clock import DIFFERENCE_S, DatabaseClock, StepDetector
from schemas.db.revisions import WrongRevisionError, is_without_schema, require_revision

CLOCK_EVERY_S = 1.0
DATABASE_EVERY_S = 5.0

NOW = "SELECT clock_timestamp()"
REVISION = "SELECT max(version_num) FROM alembic_version"

Report = Callable[..., object]
"""Logs an event with fields, like the methods of a logger."""


def _nothing_to_do() -> None:
    pass


class DatabaseWatch:
    """Sets the program's clock, and checks that the database answers and has the right schema."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection],
        monitor: AnswerMonitor,
        clock: DatabaseClock,
        steps: StepDetector,
        warn: Report,
        on_step: Callable[[], None] = _nothing_to_do,
    ) -> None:
        self._connect = connect
        self._monitor = monitor
        self._clock = clock
        self._steps = steps
        self._warn = warn
        self._on_step = on_step
        self._connection: psycopg.Connection | None = None
        self._misfit: str | None = None
        self._differs = False
        self._stopping = threading.Event()

    def trouble(self) -> str | None:
        """The reason for being unhealthy; None while healthy."""
        return self._monitor.trouble() or self._misfit

    def start(self) -> None:
        """Check once, to set the clock, then periodically from a thread."""
        self.look()
        threading.Thread(target=self._run, name="database-watch", daemon=True).start()

    def stop(self) -> None:
        self._stopping.set()

    def look(self) -> None:
        """Read the database's clock and schema revision; while it is unreachable, both stay unchanged."""
        try:
            self._connection = self._connection or self._connect()
            self._look(self._connection)
        except psycopg.Error as error:
            self.close()
            if is_without_schema(error):
                self._fits(None)

    def _look(self, connection: psycopg.Connection) -> None:
        self._clock.read(lambda: _value(connection, NOW))
        self._compare_clocks()
        self._fits(_value(connection, REVISION))

    def _run(self) -> None:
        left_s = DATABASE_EVERY_S
        while not self._stopping.wait(CLOCK_EVERY_S):
            step_s = self._steps.step_s()
            if step_s is not None:
                self._warn("clock_stepped", by_s=round(step_s, 3), doing="reschedule by the database's clock")
                self._on_step()
            left_s -= CLOCK_EVERY_S
            if left_s <= 0:
                left_s = DATABASE_EVERY_S
                self.look()
        self.close()

    def _compare_clocks(self) -> None:
        ahead_s = self._clock.difference_s()
        differs = abs(ahead_s) > DIFFERENCE_S
        if differs and not self._differs:
            self._warn("clock_differs", ahead_of_database_s=round(ahead_s, 3), counts="the database's clock")
        self._differs = differs

    def _fits(self, revision: str | None) -> None:
        try:
            require_revision(revision)
        except WrongRevisionError as error:
            misfit: str | None = str(error)
        else:
            misfit = None
        if misfit is not None and misfit != self._misfit:
            self._warn("wrong_revision", reason=misfit)
        elif self._misfit is not None and misfit is None:
            self._warn("right_revision", doing="continue")
        self._misfit = misfit

    def close(self) -> None:
        if self._connection is not None:
            with suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


def _value(connection: psycopg.Connection, query: str) -> Any:  # noqa: ANN401
    row = connection.execute(query.encode()).fetchone()
    return None if row is None else row[0]
