"""Ingest dies by SIGKILL in the middle of a batch, ten times in a run."""

import psycopg
import pytest

from tests.faults.deadline import until
from tests.faults.program import Ingest
from tests.faults.site import Site

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-ingest")]

KILLS = 10
TRIES = 2 * KILLS
WITHIN_S = 60.0
OPEN_BATCH = """
    SELECT backend_xid::text FROM pg_stat_activity
    WHERE application_name = 'gridgate-ingest' AND backend_xid IS NOT NULL"""
FATE = "SELECT pg_xact_status(%s::xid8)"


@pytest.mark.parametrize("broker", ["mosquitto", "embedded"], indirect=True)
def test_killed_in_the_middle_of_ten_batches(site: Site, messages: int) -> None:
    """A kill counts if its transaction had written rows and was aborted, so there are more tries than kills.

    Each try has its portion of the messages.
    """
    worker = site.ingest()
    portion = messages // (TRIES + 1)
    sender = site.sender(messages, limit=0)
    fates: list[str] = []
    with psycopg.connect(site.database_url, autocommit=True) as watcher:
        while fates.count("aborted") < KILLS:
            assert len(fates) < TRIES, f"a batch is too short to be hit: {fates}"
            sender.limit += portion
            fates.append(_kill_in_a_batch(worker, watcher))
            worker.start()
    sender.limit = messages
    site.settle(sender, f"ingest killed, {KILLS} times in a batch")


def _kill_in_a_batch(worker: Ingest, watcher: psycopg.Connection) -> str:
    """Kill it while its transaction has written rows; returns the status of that transaction."""
    transaction_ids: list[str | None] = [None]

    def has_written() -> bool:
        transaction_ids[0] = _query_value(watcher, OPEN_BATCH)
        return transaction_ids[0] is not None

    def is_decided() -> bool:
        return _query_value(watcher, FATE, transaction_ids[0]) != "in progress"

    until(has_written, WITHIN_S, lambda: "no batch", pause_s=0.001)
    worker.kill()
    until(is_decided, WITHIN_S, lambda: f"transaction {transaction_ids[0]} is still open")
    return _query_value(watcher, FATE, transaction_ids[0]) or "forgotten"


def _query_value(watcher: psycopg.Connection, query: str, *values: str | None) -> str | None:
    row = watcher.execute(query.encode(), values).fetchone()
    return None if row is None else str(row[0])
