"""PostgreSQL is stopped or killed under load, and restarted."""

import time

import pytest

from tests.faults.site import Site

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-database")]

AWAY_S = 20.0
CRASHES = 5


@pytest.mark.parametrize("broker", ["mosquitto", "embedded"], indirect=True)
def test_stopped_for_twenty_seconds(site: Site, messages: int) -> None:
    """The sender goes on meanwhile: the broker has the greater part of its messages to keep."""
    worker = site.ingest()
    sender = site.sender(messages, per_s=messages / AWAY_S)
    site.until_stored(messages // 10)
    site.postgres.stop()
    time.sleep(AWAY_S)  # it is the fault
    assert worker.has_logged("store_failed") > 1
    site.postgres.start()
    site.settle(sender, f"database stopped for {AWAY_S:g} s")


@pytest.mark.parametrize("broker", ["mosquitto", "embedded"], indirect=True)
def test_killed_again_and_again(site: Site, messages: int) -> None:
    site.ingest()
    sender = site.sender(messages, per_s=messages / 15)
    for crash in range(1, CRASHES + 1):
        site.until_stored(crash * messages // (CRASHES + 2))
        site.postgres.kill()
        site.postgres.start()
    site.settle(sender, f"database killed {CRASHES} times")
