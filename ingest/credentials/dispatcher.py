"""The thread that applies credentials at the broker. Its failures stop neither telemetry nor commands."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from itertools import cycle

import psycopg

from ingest.commands.states import RetryPolicy
from ingest.credentials import dynsec
from ingest.credentials.control import ControlConnection
from ingest.credentials.dynsec import CredentialChange
from ingest.credentials.outbox import CredentialOutbox, Outcome
from ingest.mqtt.packets import Connect
from ingest.receiving.broker import KEEPALIVE_S, VERSIONS, tls_for
from ingest.settings import IngestSettings
from ingest.side_thread import SideThread
from schemas.credentials import NO_KEY, UnreadablePasswordError, unseal
from schemas.db.revisions import WrongRevisionError
from schemas.programs.broker_url import parse_broker_url
from schemas.programs.settings import SettingsError

POLL_S = 1.0
"""Poll interval for what no NOTIFY announces: due retries, and a released lock."""

FIRST_AT_ONCE = 4
MOST_AT_ONCE = 50
"""Most changes in one request to the broker."""

REQUEST_S = 0.5
"""Target duration of a request: revocations wait for it, and mosquitto rewrites its file at each command."""

RETRIES = RetryPolicy(timedelta(seconds=5), timedelta(minutes=10), most_attempts=0)
"""Attempts are unlimited: the credential shows the error until an operator has fixed it."""


class CredentialDispatcher(SideThread):
    """Takes changes of credentials from the outbox, and has the broker's plugin apply them."""

    def __init__(
        self,
        settings: IngestSettings,
        open_outbox: Callable[[], CredentialOutbox],
        clock: Callable[[], datetime],
    ) -> None:
        """Read the settings.

        Raises:
            SettingsError: there is no key, or a TLS file is wrong.
        """
        super().__init__("credentials")
        url = parse_broker_url(settings.mqtt_admin_url or settings.mqtt_url)
        key = settings.password_key()
        if key is None:
            raise SettingsError(f"MQTT_ADMIN_URL: {NO_KEY}")
        self._key = key
        self._addresses = cycle(url.addresses)
        self._tls = tls_for(settings, settings.mqtt_admin_url)
        self._login = Connect(
            VERSIONS[settings.mqtt_protocol],
            f"{settings.mqtt_client_id}-credentials",
            KEEPALIVE_S,
            username=url.username,
            password=url.password,
            is_clean=True,
            session_expiry_s=0,
        )
        self._open_outbox = open_outbox
        self._clock = clock
        self._at_once = FIRST_AT_ONCE

    def _attempt(self) -> None:
        """Connect to both ends and work until one of them fails."""
        try:
            with self._open_outbox() as outbox:
                self._serve(outbox)
        except psycopg.Error as error:
            self._failed("outbox_failed", error)
        except WrongRevisionError as error:
            self._failed("wrong_revision", error)
        except Exception as error:  # noqa: BLE001 - of any kind: it must not stop ingest of telemetry
            self._failed("dispatcher_failed", error)

    def _serve(self, outbox: CredentialOutbox) -> None:
        address = next(self._addresses)
        try:
            with closing(ControlConnection(address, self._tls, self._login)) as control:
                self._reset_pause()
                while not self._stopping.is_set():
                    if not self.dispatch(outbox, control):
                        outbox.wait(POLL_S)
                    control.keep_alive()
                control.leave()
        except OSError as error:
            self._failed("broker_disconnected", error, host=address.shown)
            outbox.note_trouble(f"{address.shown}: {error}", self._clock())

    def _failed(self, event: str, error: Exception, **where: str) -> None:
        self._log.error(event, what="credentials", reason=str(error).strip(), retry_s=self._pause_s, **where)

    def dispatch(self, outbox: CredentialOutbox, control: ControlConnection) -> int:
        """Apply a limited number of due changes; returns how many there were.

        Raises:
            OSError: the connection to the broker ended; the changes stay due.
        """
        changes = outbox.take(self._clock(), self._at_once)
        if not changes:
            return 0
        began_s = time.monotonic()
        errors = self._apply(changes, control)
        self._at_once = next_at_once(self._at_once, time.monotonic() - began_s)
        now = self._clock()
        outbox.settle(
            [_outcome(change, error, now) for change, error in zip(changes, errors, strict=True)], now
        )
        for change, error in zip(changes, errors, strict=True):
            self._note(change, error)
        return len(changes)

    def _apply(self, changes: Sequence[CredentialChange], control: ControlConnection) -> list[str | None]:
        """Return each change's error; None where the broker has applied it."""
        users = control.ask([dynsec.lookup(change.ven_id) for change in changes])
        steps = [self._steps(change, user) for change, user in zip(changes, users, strict=True)]
        responses = iter(control.ask([step for each in steps if not isinstance(each, str) for step in each]))
        return [
            each if isinstance(each, str) else dynsec.failure_in([next(responses) for _ in each])
            for each in steps
        ]

    def _steps(self, change: CredentialChange, user: dynsec.Response) -> Sequence[dynsec.Command] | str:
        """Return the commands of a change, or the error that prevents it."""
        if error := dynsec.failure_in([user]):
            return error
        is_there = dynsec.is_there(user)
        if is_there and not dynsec.is_managed(user):
            return dynsec.FOREIGN_USER
        try:
            password = self._password(change) if change.enabled else None
        except UnreadablePasswordError as error:
            return str(error)
        return dynsec.commands_for(change, password, is_there=is_there)

    def _password(self, change: CredentialChange) -> str:
        return unseal(change.sealed_password or "", change.ven_id, self._key)

    def _note(self, change: CredentialChange, error: str | None) -> None:
        if error is None:
            self._log.info("credential_applied", ven_id=change.ven_id, enabled=change.enabled)
        else:
            self._log.error("credential_failed", ven_id=change.ven_id, reason=error)


def next_at_once(at_once: int, lasted_s: float) -> int:
    """Return the size of the next request, after one of `at_once` changes that took `lasted_s`."""
    if lasted_s > REQUEST_S:
        return max(1, at_once // 2)
    return min(MOST_AT_ONCE, 2 * at_once) if lasted_s < REQUEST_S / 2 else at_once


def _outcome(change: CredentialChange, error: str | None, now: datetime) -> Outcome:
    return Outcome(change, error, now if error is None else now + RETRIES.after(change.attempts + 1))
