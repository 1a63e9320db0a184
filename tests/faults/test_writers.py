"""Writer processes of one ingest are killed, the receiving process too, and their number changes."""

import pytest

from tests.faults.deadline import until
from tests.faults.program import Ingest
from tests.faults.site import Site

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-writers")]

PATIENCE_S = 30.0


def test_one_three_one_with_kills(site: Site, messages: int) -> None:
    """One process, then three writers of which each is killed, then their parent, then one again."""
    ingest = site.ingest("ingest", INGEST_WORKERS="1")
    sender = site.sender(messages, per_s=messages / 20)
    site.until_stored(messages // 8)
    ingest.stop()
    ingest.change(INGEST_WORKERS="3")
    ingest.start()
    for eighth in (2, 3, 4):
        site.until_stored(eighth * messages // 8)
        until_writers(ingest, 3)
        ingest.writers()[0].kill()
    site.until_stored(5 * messages // 8)
    orphans = ingest.writers()
    ingest.kill_parent()
    for orphan in orphans:
        orphan.wait(PATIENCE_S)
    ingest.start()
    site.until_stored(6 * messages // 8)
    until_writers(ingest, 3)
    ingest.stop()
    ingest.change(INGEST_WORKERS="1")
    ingest.start()
    site.settle(sender, "1, 3, 1 writers; each killed, and the receiving process")


def until_writers(ingest: Ingest, count: int) -> None:
    until(lambda: len(ingest.writers()) == count, PATIENCE_S, lambda: f"{len(ingest.writers())} writers")
