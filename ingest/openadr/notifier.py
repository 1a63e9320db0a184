"""The thread that publishes OpenADR notifications. Its failures stop neither telemetry nor commands."""

from collections.abc import Callable
from contextlib import closing
from itertools import cycle

from msgspec.structs import replace

from ingest.commands.publisher import Clock, Publisher
from ingest.openadr.messages import MessageOutbox
from ingest.receiving.broker import addresses_of, login_for, tls_for
from ingest.settings import IngestSettings
from ingest.side_thread import SideThread

POLL_S = 1.0
"""Poll interval, for a missed NOTIFY."""

AT_ONCE = 100
"""Most rows in one transaction; each may be for many topics."""


class MqttNotifier(SideThread):
    """Works while connected to database and broker; after a failure of either it reconnects to both."""

    def __init__(
        self, settings: IngestSettings, open_outbox: Callable[[], MessageOutbox], clock: Clock
    ) -> None:
        super().__init__("openadr-notifier")
        self._addresses = cycle(addresses_of(settings))
        self._tls = tls_for(settings)
        client_id = f"{settings.mqtt_client_id}-openadr"
        self._login = replace(login_for(settings), client_id=client_id, is_clean=True, session_expiry_s=0)
        self._open_outbox = open_outbox
        self._clock = clock

    def _attempt(self) -> None:
        try:
            self._publish_until_failure()
        except Exception as error:  # noqa: BLE001 - of any kind: it must not stop ingest of telemetry
            self._failed(error)

    def _publish_until_failure(self) -> None:
        address = next(self._addresses)
        with (
            self._open_outbox() as outbox,
            closing(Publisher(address, self._tls, self._login, self._clock)) as publisher,
        ):
            self._reset_pause()
            while not self._stopping.is_set():
                self._publish(outbox, publisher)
                publisher.keep_alive()
            publisher.leave()

    def _publish(self, outbox: MessageOutbox, publisher: Publisher) -> None:
        outcome = outbox.publish(publisher, AT_ONCE)
        if outcome is None:
            outbox.wait(POLL_S)
        elif outcome.refusals:
            self._log.error("notifications_refused", count=len(outcome.refusals), reason=outcome.refusals[0])

    def _failed(self, error: Exception) -> None:
        reason = str(error).strip() or repr(error)
        self._log.error("notifier_failed", what="OpenADR notifications", reason=reason, retry_s=self._pause_s)
