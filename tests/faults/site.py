"""A site: processes of a durable PostgreSQL, a broker and workers of ingest, and a comparison at the end."""

import subprocess
import sys
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from local.broker import EmbeddedBroker
from local.environment import REPOSITORY, inherited_environment
from local.postgres import EmbeddedPostgres
from tests.faults.deadline import until
from tests.faults.mosquitto import Mosquitto
from tests.faults.program import Ingest
from tests.faults.sender import Sender
from tests.faults.tally import Tally

DATABASE = "gridgate"
SETTLED_WITHIN_S = 180.0
PEAK_LIMIT_MB = 192.0
"""A batch of 4,000 of our messages, and as many waiting, take some 70 MB on top of an idle 75."""


class Site:
    """Processes that a test starts, which end with the test."""

    def __init__(self, directory: Path, broker: Mosquitto | EmbeddedBroker) -> None:
        self.directory = directory
        self.broker = broker
        self.postgres = EmbeddedPostgres(directory, durable=True)
        self.tally = Tally(self.database_url)
        self.peak_limit_mb = PEAK_LIMIT_MB
        self._workers: list[Ingest] = []
        self._senders: list[Sender] = []

    @property
    def database_url(self) -> str:
        return self.postgres.url(DATABASE)

    def start(self) -> None:
        """Start broker and database, and migrate to the head revision."""
        self.broker.start()
        self.postgres.start()
        self.create_database()

    def create_database(self) -> None:
        self.postgres.ensure_database(DATABASE)
        environment = inherited_environment(DATABASE_URL=self.database_url)
        command = [sys.executable, "-m", "alembic", "upgrade", "head"]
        subprocess.run(command, cwd=REPOSITORY, env=environment, check=True)

    def end(self) -> None:
        """Kill everything that runs, in any state."""
        for sender in self._senders:
            sender.stop()
        self.tally.close()
        for service in (*self._workers, self.broker, self.postgres):
            service.kill()

    def ingest(self, client_id: str = "ingest", database_url: str | None = None, **settings: str) -> Ingest:
        """Start a worker, which is subscribed."""
        url = database_url or self.database_url
        worker = Ingest(self.directory, url, self.broker.mqtt5_url, client_id, **settings)
        self._workers.append(worker)
        worker.start()
        return worker

    def sender(self, count: int, *, per_s: float | None = None, limit: int | None = None) -> Sender:
        """Start a sender."""
        sender = Sender(self.broker.mqtt5_url, count, per_s=per_s, limit=limit)
        self._senders.append(sender)
        sender.start()
        return sender

    def until_stored(self, count: int, within_s: float = SETTLED_WITHIN_S) -> None:
        until(
            lambda: self.tally.stored() >= count, within_s, lambda: f"{self.tally.stored()} of {count} stored"
        )

    def until_refused(self, count: int) -> None:
        """Those that are larger than all others may come after them."""
        until(
            lambda: self.tally.refused() >= count,
            SETTLED_WITHIN_S,
            lambda: f"{self.tally.refused()} of {count} refused",
        )

    def settle(self, sender: Sender, fault: str, refused: Iterable[tuple[str, bytes]] = ()) -> None:
        """Wait until everything is sent and stored, stop the workers, compare counts, and print the duration.

        `refused`: reasons and payloads of messages to be refused that were not sent by the sender.
        """
        sender.finish(SETTLED_WITHIN_S)
        self.until_stored(sender.sums.messages)
        expected = {("not_json", payload) for payload in sender.unreadable} | set(refused)
        self.until_refused(len(expected))
        seconds = time.monotonic() - sender.started_at
        for worker in self._workers:
            worker.stop()
        self._compare(sender)
        unexpected = [(reason, payload[:80]) for reason, payload in self.tally.rejected() ^ expected]
        assert not unexpected, unexpected
        peak_mb = max(worker.peak_mb for worker in self._workers)
        print(
            f"\n{fault} ({type(self.broker).__name__}):"
            f" {sender.count} messages, {sender.duplicates} of them sent twice,"
            f" {sum(worker.kills for worker in self._workers)} kills of ingest, {seconds:.1f} s,"
            f" peak memory of ingest {peak_mb:.0f} MB"
        )
        assert peak_mb < self.peak_limit_mb, peak_mb

    def _compare(self, sender: Sender) -> None:
        stored = self.tally.sums()
        differences = list(islice(sender.sums.differences(stored), 20))
        assert not differences, differences
        assert stored.messages == sender.sums.messages
        assert stored.samples == sender.sums.samples
        disagreements = list(self.tally.disagreements())
        assert not disagreements, disagreements
