"""The thread that empties the outbox. Whatever fails in it, telemetry goes on."""

from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from itertools import cycle

import psycopg
from msgspec.structs import replace

from ingest.commands.outbox import Outbox
from ingest.commands.publisher import Attempt, Publisher
from ingest.commands.states import Due, given_up, postponed
from ingest.metrics import IngestMetrics
from ingest.mqtt.connection import LoginRefusedError
from ingest.receiving.broker import addresses_of, login_for, tls_for
from ingest.settings import IngestSettings
from ingest.side_thread import SideThread
from schemas.db.revisions import WrongRevisionError

POLL_S = 1.0
"""For what no NOTIFY announces: the next attempts, and the end of leases."""

NEXT_PAUSE_S = 0.05
"""Until the next connection, where one of several commands may be what the last one ended at."""


class Dispatcher(SideThread):
    """Takes due commands from the outbox, publishes them, and writes down there what became of them.

    It works only with connections to both ends: what is taken in hand is published at once.

    A broker may close the connection at one command, out of many that are on their way. So those that it had
    not confirmed then are published one by one: where the connection ends again, it is for that command.
    """

    def __init__(
        self,
        settings: IngestSettings,
        open_outbox: Callable[[], Outbox],
        clock: Callable[[], datetime],
        metrics: IngestMetrics,
    ) -> None:
        super().__init__("dispatcher")
        self._addresses = cycle(addresses_of(settings))
        self._address = addresses_of(settings)[0]
        self._tls = tls_for(settings)
        client_id = f"{settings.mqtt_client_id}-commands"
        self._login = replace(login_for(settings), client_id=client_id, is_clean=True, session_expiry_s=0)
        self._has_expiry = settings.mqtt_message_expiry == "on"
        self._retry_policy = settings.retry_policy
        self._open_outbox = open_outbox
        self._clock = clock
        self._metrics = metrics
        self._suspects: set[str] = set()
        self._unsettled: list[Due] = []

    def _attempt(self) -> None:
        """Connect to both ends and work until one of them fails."""
        try:
            with self._open_outbox() as outbox:
                self._clear(outbox)
                self._converse(outbox)
        except LoginRefusedError as error:
            self._failed("broker_refused", error, host=self._address.shown)
        except OSError as error:
            self._failed("broker_disconnected", error, host=self._address.shown)
        except psycopg.Error as error:
            self._failed("outbox_failed", error)
        except WrongRevisionError as error:
            self._failed("wrong_revision", error)
        except Exception as error:  # noqa: BLE001 - of any kind: it must not stop ingest of telemetry
            self._failed("dispatcher_failed", error)
        finally:
            self._metrics.dispatching(is_on=False)

    def _failed(self, event: str, error: Exception, **where: str) -> None:
        self._metrics.dispatch_failed()
        reason = str(error).strip()
        self._log.error(event, what="commands", reason=reason, retry_s=self._pause_s, **where)

    def _clear(self, outbox: Outbox) -> None:
        """Settle what was in hand when the connection broke, and what is over, which needs no broker."""
        self._settle(outbox, self._unsettled)
        while over := outbox.take(self._clock(), only_over=True):
            self._settle(outbox, [end for each in over if (end := self._ended(each)) is not None])

    def _converse(self, outbox: Outbox) -> None:
        with closing(self._connect()) as publisher:
            self._metrics.dispatching(is_on=True)
            self._reset_pause()
            while not self._stopping.is_set():
                if not self.dispatch(outbox, publisher):
                    outbox.wait(POLL_S)
                publisher.keep_alive()
            publisher.leave()

    def _connect(self) -> Publisher:
        self._address = next(self._addresses)
        return Publisher(self._address, self._tls, self._login, self._clock, has_expiry=self._has_expiry)

    def dispatch(self, outbox: Outbox, publisher: Publisher) -> int:
        """Publish the commands that are due, up to some number; returns how many were taken in hand.

        Raises:
            OSError: the connection to the broker ended; its commands are settled.
        """
        taken = outbox.take(self._clock())
        # Until there is an outcome, as they were: so they go back if we do not get as far as that.
        self._unsettled = taken
        ready, decided = self._sort(taken, has_expiry=publisher.has_expiry)
        attempt = self._publish(publisher, ready)
        self._settle(outbox, [*decided, *attempt.settled], [*attempt.unconfirmed, *attempt.unpublished])
        if attempt.error is not None:
            self._pause_s = NEXT_PAUSE_S if attempt.unconfirmed else self._pause_s
            raise attempt.error
        return len(taken)

    def _sort(self, taken: list[Due], *, has_expiry: bool) -> tuple[list[Due], list[Due]]:
        """Commands to publish now, and those that are over or have to wait."""
        now = self._clock()
        ready, decided = list[Due](), list[Due]()
        for command in taken:
            end = self._ended(command) or postponed(command, now, self._retry_policy, has_expiry=has_expiry)
            (ready if end is None else decided).append(end or command)
        return ready, decided

    def _publish(self, publisher: Publisher, commands: list[Due]) -> Attempt:
        """All at once; then each one alone that a connection may have ended at before."""
        suspects = [each for each in commands if each.interruptions or each.command_id in self._suspects]
        others = [each for each in commands if not (each.interruptions or each.command_id in self._suspects)]
        attempt = publisher.publish(others, self._retry_policy)
        settled = attempt.settled
        while suspects and attempt.error is None:
            attempt = publisher.publish([suspects.pop(0)], self._retry_policy)
            settled += attempt.settled
        self._suspects -= {each.command_id for each in settled}
        self._suspects |= {each.command_id for each in attempt.unconfirmed}
        return Attempt(settled, attempt.unconfirmed, [*attempt.unpublished, *suspects], attempt.error)

    def _ended(self, command: Due) -> Due | None:
        return given_up(command, self._clock(), self._retry_policy)

    def _settle(self, outbox: Outbox, settled: list[Due], unchanged: list[Due] | None = None) -> None:
        """Kept until the database has it, over its outages: else they would be published again."""
        self._unsettled = [*settled, *(unchanged or [])]
        outbox.settle(self._unsettled)
        self._unsettled = []
        self._metrics.settled(settled)
