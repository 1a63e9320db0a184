"""A burst of messages with a slow database."""

import pytest

from tests.faults.proxy import PostgresProxy
from tests.faults.site import SETTLED_WITHIN_S, Site

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-database")]

STORM_SECONDS_A_MEGABYTE = 4.0
"""A message brings 3 kB to the database: each writer stores 80 messages/s, fewer than any machine sends."""
SECONDS_A_MEGABYTE = 0.6
IN_FLIGHT = "500"
GROWTH_LIMIT_MB = 24
"""500 messages and a batch of them take 12 MB; all 20,000 of the storm would take 50."""


@pytest.mark.parametrize("broker", ["mosquitto", "embedded"], indirect=True)
def test_a_storm_waits_at_the_broker(site: Site, messages: int) -> None:
    """All messages are sent before half of them is stored; by back-pressure ingest's memory does not grow."""
    with PostgresProxy(site.directory / "proxy", site.database_url) as proxy:
        worker = site.ingest(database_url=proxy.url, MQTT_RECEIVE_MAXIMUM=IN_FLIGHT)
        worker.note_peak()
        idle_mb = worker.peak_mb
        proxy.seconds_a_megabyte = STORM_SECONDS_A_MEGABYTE
        sender = site.sender(messages)
        sender.finish(SETTLED_WITHIN_S)
        proxy.seconds_a_megabyte = SECONDS_A_MEGABYTE
        behind = messages - site.tally.stored()
        assert behind > messages // 2
        site.settle(sender, f"storm, database slow, {behind} behind at its end")
        assert worker.peak_mb - idle_mb < GROWTH_LIMIT_MB
