"""The thread of each worker process that listens for notifications of PostgreSQL, and polls besides."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

import psycopg
import structlog
from psycopg import sql
from sqlalchemy.exc import SQLAlchemyError

MAX_BACKOFF_S = 10.0
FIRST_BACKOFF_S = 0.25

Refresh = Callable[[], None]
TakePayload = Callable[[str], None]
NO_PAYLOADS: Mapping[str, TakePayload] = MappingProxyType({})


class Listener:
    """Calls `on_notify` by channel; `on_poll` every `every_s` and after each connect; `on_lost` when the
    connection fails. `on_payload` gets the payload of each notification, in their order.
    """

    def __init__(
        self,
        connect: Callable[[], psycopg.Connection],
        on_notify: Mapping[str, Sequence[Refresh]],
        on_poll: Sequence[Refresh],
        on_lost: Refresh,
        every_s: float,
        on_payload: Mapping[str, TakePayload] = NO_PAYLOADS,
    ) -> None:
        self._connect = connect
        self._on_notify = on_notify
        self._on_poll = on_poll
        self._on_lost = on_lost
        self._every_s = every_s
        self._on_payload = on_payload
        self._stopping = threading.Event()
        self._backoff_s = FIRST_BACKOFF_S
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
                self._log.warning("listener_away", error=str(error).strip(), next_in_s=self._backoff_s)
            except Exception:  # noqa: BLE001 - of any kind: without its listener, a process serves stale data
                self._log.exception("listener_failed", next_in_s=self._backoff_s)
            if not self._stopping.is_set():
                self._on_lost()
                self._stopping.wait(self._backoff_s)
                self._backoff_s = min(2 * self._backoff_s, MAX_BACKOFF_S)

    def _listen(self, connection: psycopg.Connection) -> None:
        for channel in (*self._on_notify, *self._on_payload):
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        while not self._stopping.is_set():
            _call(self._on_poll)
            self._backoff_s = FIRST_BACKOFF_S
            self._wait_for_notifications(connection)

    def _wait_for_notifications(self, connection: psycopg.Connection) -> None:
        """Handle notifications until it is time to poll."""
        until = time.monotonic() + self._every_s
        while not self._stopping.is_set() and (left_s := until - time.monotonic()) > 0:
            notes = list(connection.notifies(timeout=left_s, stop_after=1))
            for note in notes:
                if note.channel in self._on_payload:
                    self._on_payload[note.channel](note.payload)
            for channel in {note.channel for note in notes} & self._on_notify.keys():
                _call(self._on_notify[channel])


def _call(refreshes: Iterable[Refresh]) -> None:
    for refresh in refreshes:
        refresh()
