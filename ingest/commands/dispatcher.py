"""The thread that sees to the outbox. Whatever fails in it, telemetry goes on."""

import threading
from collections.abc import Callable
from datetime import datetime

import psycopg
import structlog
from msgspec.structs import replace

from ingest.commands.outbox import Outbox
from ingest.commands.publisher import Publisher
from ingest.commands.states import Due, given_up
from ingest.metrics import Metrics
from ingest.mqtt.connection import Connection, LoginRefusedError
from ingest.mqtt.link import Link
from ingest.mqtt.packets import ProtocolError
from ingest.settings import IngestSettings
from ingest.subscriber import FAREWELL_S, address_of, login_for, tls_for
from schemas.revisions import WrongRevisionError

POLL_S = 1.0
"""For what no NOTIFY tells of: the next attempts, and the end of leases."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 10.0


class Dispatcher:
    """Takes due commands from the outbox, publishes them, and says there what became of them.

    Only with a connection to both ends: what is taken in hand is published at once.
    """

    def __init__(
        self,
        settings: IngestSettings,
        open_outbox: Callable[[], Outbox],
        clock: Callable[[], datetime],
        metrics: Metrics,
    ) -> None:
        self._address = address_of(settings)
        self._tls = tls_for(settings)
        client_id = f"{settings.mqtt_client_id}-commands"
        self._login = replace(login_for(settings), client_id=client_id, is_clean=True, session_expiry_s=0)
        self._patience = settings.patience
        self._open_outbox = open_outbox
        self._clock = clock
        self._metrics = metrics
        self._unsettled: list[Due] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self.run, name="dispatcher")
        self._pause_s = FIRST_PAUSE_S
        self._log = structlog.get_logger()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End after what is on its way just now."""
        self._stopping.set()
        self._thread.join()

    def run(self) -> None:
        """Work until told to stop."""
        while not self._stopping.is_set():
            self._attempt()
            self._stopping.wait(self._pause_s)
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _attempt(self) -> None:
        """Connect to both ends and work until one of them fails."""
        try:
            with self._open_outbox() as outbox:
                self._clear(outbox)
                self._converse(outbox)
        except LoginRefusedError as error:
            self._failed("broker_refused", error)
        except (OSError, ProtocolError) as error:
            self._failed("broker_disconnected", error)
        except psycopg.Error as error:
            self._failed("outbox_failed", error)
        except WrongRevisionError as error:
            self._failed("wrong_revision", error)
        except Exception as error:  # noqa: BLE001 - of any kind: it must not stop ingest of telemetry
            self._failed("dispatcher_failed", error)
        finally:
            self._metrics.dispatching(is_on=False)

    def _failed(self, event: str, error: Exception) -> None:
        self._metrics.dispatch_failed()
        self._log.error(event, what="commands", reason=str(error).strip(), retry_s=self._pause_s)

    def _clear(self, outbox: Outbox) -> None:
        """What was in hand when the connection broke; and what is over, which takes no broker to say."""
        self._settle(outbox, self._unsettled)
        while over := outbox.take(self._clock(), only_over=True):
            self._settle(outbox, self._ended(over))

    def _converse(self, outbox: Outbox) -> None:
        with Link(*self._address, self._tls) as link:
            connection = Connection(link, self._login)
            publisher = Publisher(link, connection, self._login.version, self._clock)
            self._metrics.dispatching(is_on=True)
            self._pause_s = FIRST_PAUSE_S
            while not self._stopping.is_set():
                if not self.dispatch(outbox, publisher):
                    outbox.wait(POLL_S)
                publisher.keep_alive()
            publisher.leave(FAREWELL_S)

    def dispatch(self, outbox: Outbox, publisher: Publisher) -> int:
        """Publish the commands that are due, up to some number; answers how many were taken in hand.

        Raises:
            OSError, ProtocolError: the connection to the broker broke; its commands are settled.
        """
        taken = outbox.take(self._clock())
        ended = self._ended(taken)
        over = {command.command_id for command in ended}
        # Until the broker confirms it, as it was: so it goes back if we do not get as far as that.
        self._unsettled = taken
        told, error = publisher.publish(
            (each for each in taken if each.command_id not in over), self._patience
        )
        self._settle(outbox, [*ended, *told])
        if error is not None:
            raise error
        return len(taken)

    def _ended(self, commands: list[Due]) -> list[Due]:
        now = self._clock()
        return [end for end in (given_up(each, now, self._patience) for each in commands) if end is not None]

    def _settle(self, outbox: Outbox, commands: list[Due]) -> None:
        """Kept until the database has it, over its outages: else they would be published again."""
        self._unsettled = commands
        outbox.settle(commands)
        self._unsettled = []
        self._metrics.settled(commands)
