"""One thread of each worker process that listens to the database, and looks by itself now and then."""

import threading
from collections.abc import Callable, Collection

import psycopg
import structlog
from psycopg import sql
from sqlalchemy.exc import SQLAlchemyError

LONGEST_PAUSE_S = 10.0
FIRST_PAUSE_S = 0.25

Refresh = Callable[[], None]


class Listener:
    """Calls what each channel is to refresh: when notified, every `every_s`, and after each connect."""

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection],
        refreshes: dict[str, list[Refresh]],
        every_s: float,
    ) -> None:
        self._connect = connect
        self._refreshes = refreshes
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
                self._stopping.wait(self._pause_s)
                self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _listen(self, connection: psycopg.Connection) -> None:
        for channel in self._refreshes:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        woken: Collection[str] = self._refreshes
        while not self._stopping.is_set():
            self._refresh(woken)
            self._pause_s = FIRST_PAUSE_S
            notified = {note.channel for note in connection.notifies(timeout=self._every_s, stop_after=1)}
            woken = notified or self._refreshes

    def _refresh(self, channels: Collection[str]) -> None:
        for channel in channels:
            for refresh in self._refreshes[channel]:
                refresh()
