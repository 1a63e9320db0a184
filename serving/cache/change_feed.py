"""What has changed of what many clients poll, in the order in which it was committed.

Notifications arrive in the order of commits. So once a process has received a notification of its own, a
probe, it has received those of all changes that were committed before the probe.
"""

import secrets
import threading
from collections.abc import Callable
from time import monotonic

import psycopg
from msgspec import Struct
from sqlalchemy import Engine, func, true

from schemas.db.channels import notify
from serving.cache.generation import ChangeCounter
from serving.cache.listener import Listener

VALID_FOR_S = 5.0
"""How long copies are used after the last probe that has arrived was sent."""

PROBE_EVERY_S = 2.0
PROBE_TIMEOUT_S = 2.0
"""How long a request waits for its probe; after that it reads the database."""

LOST_AFTER_S = 10.0
"""After so long without an answer to a probe, the listener reconnects."""

EVERYTHING = ""
"""A change that may concern anything."""

MOST_CHANGES = 10_000
"""Longer backlogs, as of a process without polls, become a change of everything."""


class PendingChanges:
    """Changes that one follower has still to take."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changes = {EVERYTHING}

    @property
    def is_empty(self) -> bool:
        return not self._changes

    def add(self, change: str) -> None:
        with self._lock:
            if len(self._changes) >= MOST_CHANGES:
                self._changes = {EVERYTHING}
            self._changes.add(change)

    def take(self) -> set[str]:
        with self._lock:
            changes, self._changes = self._changes, set()
        return changes


class Probe(Struct, frozen=True):
    """When a probe was sent, s, and the count of changes at that time."""

    sent_s: float
    change_count: int


class ChangeFeed:
    """Kept up by a listener of its own; without one, or without its connection, it is never current.

    Args:
        engine: sends the probes.
        channel: whose notifications say what has changed.
        changes: counts changes of all processes of the server.
        clock: s.
    """

    def __init__(
        self,
        engine: Engine,
        channel: str,
        changes: ChangeCounter,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._engine = engine
        self._channel = channel
        self._probe_channel = f"gridgate_probe_{secrets.token_hex(8)}"
        self._changes = changes
        self._clock = clock
        self._backlogs: list[PendingChanges] = []
        self._valid_until = float("-inf")
        self._change_count = -1
        self._waiting = threading.Lock()
        self._arrival = threading.Condition()
        self._probes: dict[int, Probe] = {}
        self._last_probe = 0

    @property
    def is_valid(self) -> bool:
        """Whether a listener is there."""
        return self._clock() <= self._valid_until

    def follow(self) -> PendingChanges:
        """The changes from now on; the first is one of everything."""
        backlog = PendingChanges()
        self._backlogs.append(backlog)
        return backlog

    def listener(self, connect: Callable[[], psycopg.Connection], every_s: float = PROBE_EVERY_S) -> Listener:
        on_payload = {self._channel: self._add, self._probe_channel: self._receive_probe}
        return Listener(connect, {}, (self._confirm,), self.expire, every_s, on_payload)

    def is_current(self) -> bool:
        """Whether the backlogs have all changes that were answered before the call; waits for them.

        Changes by another server are in the backlogs once their notifications have arrived.
        """
        if not self.is_valid:
            return False
        return self._change_count >= self._changes.value or self._catch_up()

    def expire(self) -> None:
        """The connection is lost, and with it notifications."""
        with self._arrival:
            self._valid_until = float("-inf")
            self._probes.clear()
            self._arrival.notify_all()

    def _confirm(self) -> None:
        """Copies stay valid if this probe arrives.

        Raises:
            psycopg.OperationalError: an earlier one has not, as with a connection to a former primary.
        """
        with self._arrival:
            oldest_s = min((probe.sent_s for probe in self._probes.values()), default=self._clock())
        if self._clock() - oldest_s > LOST_AFTER_S:
            raise psycopg.OperationalError(f"no notification has arrived for {LOST_AFTER_S:g} s")
        self._send_probe()

    def _catch_up(self) -> bool:
        """One thread sends a probe; those that come meanwhile wait for its outcome."""
        with self._waiting:
            if self._change_count >= self._changes.value:
                return True
            number = self._send_probe()
            with self._arrival:
                self._arrival.wait_for(lambda: number not in self._probes, PROBE_TIMEOUT_S)
                return self.is_valid and number not in self._probes

    def _send_probe(self) -> int:
        with self._arrival:
            self._last_probe += 1
            number = self._last_probe
            self._probes[number] = Probe(self._clock(), self._changes.value)
        with self._engine.begin() as connection:
            # Nothing is lost with a probe: its commit waits for no disk, nor for a replica.
            probe = notify(self._probe_channel, str(number))
            connection.execute(probe.add_columns(func.set_config("synchronous_commit", "off", true())))
        return number

    def _receive_probe(self, payload: str) -> None:
        with self._arrival:
            probe = self._probes.get(int(payload))
            if probe is None:
                return
            if not self.is_valid:
                self._add(EVERYTHING)
            self._valid_until = max(self._valid_until, probe.sent_s + VALID_FOR_S)
            self._change_count = max(self._change_count, probe.change_count)
            self._probes = {number: each for number, each in self._probes.items() if number > int(payload)}
            self._arrival.notify_all()

    def _add(self, change: str) -> None:
        for backlog in self._backlogs:
            backlog.add(change)
