"""The broker stops and starts again on its data, while messages flow."""

import pytest

from tests.faults.mosquitto import Mosquitto
from tests.faults.site import SETTLED_WITHIN_S, Site

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-broker")]

RESTARTS = 5
RECONNECTS = 20
SETTLED_AFTER = 4
GROWTH_LIMIT_MB = 16
"""Less than what five times `MQTT_RECEIVE_MAXIMUM` of our messages take."""


def test_restarted_again_and_again(site: Site, broker: Mosquitto, messages: int) -> None:
    """Sender and ingest lose their connections; mosquitto keeps the sessions, and what was in flight."""
    site.ingest()
    sender = site.sender(messages, per_s=messages / 20)
    for restart in range(1, RESTARTS + 1):
        site.until_stored(restart * messages // (RESTARTS + 2))
        broker.restart()
    site.settle(sender, f"broker restarted {RESTARTS} times")


def test_restarted_while_the_database_is_away(site: Site, broker: Mosquitto, messages: int) -> None:
    """What was in flight comes again with each connection, while ingest still holds it from the last one.

    Memory must not grow with the number of reconnects.
    """
    worker = site.ingest()
    sender = site.sender(messages)
    site.until_stored(messages // 10)
    site.postgres.stop()
    sender.finish(SETTLED_WITHIN_S)
    peaks_mb: list[int] = []
    for restart in range(1, RECONNECTS + 1):
        broker.restart()
        worker.wait_listening(restart + 1)
        worker.note_peak()
        peaks_mb.append(round(worker.peak_mb))
    site.postgres.start()
    site.settle(sender, f"broker restarted {RECONNECTS} times while the database was away")
    growth = max(peaks_mb) - peaks_mb[SETTLED_AFTER]
    assert growth < GROWTH_LIMIT_MB, f"memory grows with each reconnect: {peaks_mb} MB"
