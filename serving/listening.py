"""One thread of each worker process that listens to the database, and looks by itself now and then."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

import psycopg
import structlog
from psycopg import sql
from sqlalchemy.exc import SQLAlchemyError

LONGEST_PAUSE_S = 10.0
FIRST_PAUSE_S = 0.25

Refresh = Callable[[], None]


class Listener:
    """Calls what each channel is to refresh when notified; all that looks for itself every `every_s`, and
    after each connect; and what is to know that the database is away.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection],
        notified: Mapping[str, Sequence[Refresh]],
        looking: Sequence[Refresh],
        lost: Refresh,
        every_s: float,
    ) -> None:
        self._connect = connect
        self._notified = notified
        self._looking = looking
        self._lost = lost
        self._every_s = every_s
        self._stopping = threading.Event()
        self._pause_s = FIRST_PAUSE_S
        self._log = structlog.get_logger()

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self.run, name="listener", daemon=True)
        thread.start()
        return thread

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        while not self._stopping.is_set():
            try:
                with self._connect() as connection:
                    self._listen(connection)
            except (psycopg.Error, SQLAlchemyError) as error:
                self._log.warning("listener_away", error=str(error).strip(), next_in_s=self._pause_s)
            except Exception:  # noqa: BLE001 - of any kind: it must not leave the process deaf
                self._log.exception("listener_failed", next_in_s=self._pause_s)
            if not self._stopping.is_set():
                self._lost()
                self._stopping.wait(self._pause_s)
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _listen(self, connection: psycopg.Connection) -> None:
        for channel in self._notified:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        while not self._stopping.is_set():
            _call(self._looking)
            self._pause_s = FIRST_PAUSE_S
            self._hear(connection)

    def _hear(self, connection: psycopg.Connection) -> None:
        """Until nothing was heard for a while, or it is time to look."""
        until = time.monotonic() + self._every_s
        while not self._stopping.is_set() and (left_s := until - time.monotonic()) > 0:
            for channel in {note.channel for note in connection.notifies(timeout=left_s, stop_after=1)}:
                _call(self._notified[channel])


def _call(refreshes: Iterable[Refresh]) -> None:
    for refresh in refreshes:
        refresh()
