"""The thread that publishes the outbox of commands. Its failures never stop the ingest of telemetry."""

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
"""Poll interval for what no NOTIFY announces: due retries and expired leases."""

NEXT_PAUSE_S = 0.05
"""Pause before reconnecting when one of several unconfirmed commands may have ended the connection."""


class Dispatcher(SideThread):
    """Claims due commands from the outbox, publishes them, and records their outcome there.

    It claims only while connected to database and broker, so that a claimed command is published at once.

    A broker may close the connection because of one of many commands in flight. So the unconfirmed ones are
    published one by one afterwards: the command at which the connection ends again is the cause.
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
                self._publish_until_failure(outbox)
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
        """Settle commands left from a broken connection, and expired ones, which need no broker."""
        self._settle(outbox, self._unsettled)
        while over := outbox.take(self._clock(), only_over=True):
            self._settle(outbox, [end for each in over if (end := self._ended(each)) is not None])

    def _publish_until_failure(self, outbox: Outbox) -> None:
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
        """Publish a limited number of due commands; returns how many were claimed.

        Raises:
            OSError: the connection to the broker ended; the claimed commands are settled.
        """
        claimed = outbox.take(self._clock())
        # Unchanged until there is an outcome: after an exception they are released as they were.
        self._unsettled = claimed
        ready, decided = self._sort(claimed, has_expiry=publisher.has_expiry)
        attempt = self._publish(publisher, ready)
        self._settle(outbox, [*decided, *attempt.settled], [*attempt.unconfirmed, *attempt.unpublished])
        if attempt.error is not None:
            self._pause_s = NEXT_PAUSE_S if attempt.unconfirmed else self._pause_s
            raise attempt.error
        return len(claimed)

    def _sort(self, claimed: list[Due], *, has_expiry: bool) -> tuple[list[Due], list[Due]]:
        """Return the commands to publish now, and those that have expired or have to wait."""
        now = self._clock()
        ready, decided = list[Due](), list[Due]()
        for command in claimed:
            end = self._ended(command) or postponed(command, now, self._retry_policy, has_expiry=has_expiry)
            (ready if end is None else decided).append(end or command)
        return ready, decided

    def _publish(self, publisher: Publisher, commands: list[Due]) -> Attempt:
        """Publish all in a pipeline; then, one by one, those that may have ended a connection before."""
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
        """Record outcomes, kept over database outages: else the commands would be published again."""
        self._unsettled = [*settled, *(unchanged or [])]
        outbox.settle(self._unsettled)
        self._unsettled = []
        self._metrics.settled(settled)
