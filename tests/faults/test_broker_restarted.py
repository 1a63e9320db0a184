"""The broker is stopped or killed, and restarted with its data, under load."""

import pytest

from tests.faults.deadline import until
from tests.faults.mosquitto import Mosquitto
from tests.faults.sender import Sender
from tests.faults.site import SETTLED_WITHIN_S, Site

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-broker")]

RESTARTS = 5
KILLS = 5
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


def test_killed_again_and_again(site: Site, broker: Mosquitto, messages: int) -> None:
    """Mosquitto dies by SIGKILL, with messages in flight on both sides.

    Guaranteed: messages that ingest acknowledged are stored, once, as they were stored before the
    acknowledgement, and those that mosquitto sends again, because it lost the acknowledgement, are
    duplicates.

    Not guaranteed: that messages which mosquitto acknowledged survive. It acknowledges QoS 1 from memory,
    and writes its data at intervals (`autosave_interval`; with `autosave_on_changes` after each iteration
    of its loop, which is still after the acknowledgement). Later messages are lost, and no subscriber can
    recover them. So this sender sends again all messages since the last save: then everything is stored,
    and duplicates change nothing.
    """
    worker = site.ingest()
    sender = site.sender(messages, limit=0)
    broker.save()
    for kill in range(1, KILLS + 1):
        stored = site.tally.stored()
        sender.limit = kill * messages // (KILLS + 1)
        site.until_stored((stored + sender.limit) // 2)
        broker.kill()
        broker.start()
        worker.wait_listening(kill + 1)
        _wait_for_answers(sender)
        sender.repeat()
        _wait_for_answers(sender)
        broker.save()
        sender.saved()
    sender.limit = messages
    site.settle(sender, f"broker killed {KILLS} times")


def _wait_for_answers(sender: Sender) -> None:
    until(sender.has_reached_its_limit, SETTLED_WITHIN_S, lambda: f"{sender.acknowledged} answers")


def test_restarted_while_the_database_is_away(site: Site, broker: Mosquitto, messages: int) -> None:
    """Messages in flight are delivered again with each connection, while ingest still holds them.

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
