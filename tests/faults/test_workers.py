"""Several workers on one shared subscription; their number changes under load."""

import pytest

from tests.faults.program import Ingest
from tests.faults.site import Site

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-workers")]

GROUP = "gridgate"


def test_workers_come_and_go(site: Site, messages: int) -> None:
    """Two workers; a third comes; one is stopped, and retired later; one is killed, and comes back.

    For operators: the broker distributes messages to the sessions of the group, and a session outlives its
    worker. Mosquitto continues to queue messages in the session of a stopped worker. Only that client id
    gets them, and they are lost when the session expires. So a stopped worker has to come back within
    `MQTT_SESSION_EXPIRY_S`, with its own id, or to be retired.
    """
    first, second = _worker(site, 1), _worker(site, 2)
    sender = site.sender(messages, per_s=messages / 15)
    site.until_stored(messages // 6)
    _worker(site, 3)
    site.until_stored(2 * messages // 6)
    first.stop()
    site.until_stored(messages // 2)
    second.kill()
    second.start()
    site.until_stored(4 * messages // 6)
    first.retire()
    site.settle(sender, "2 to 3 workers, one of them retired")


def _worker(site: Site, number: int) -> Ingest:
    return site.ingest(f"ingest-{number}", MQTT_SHARE_GROUP=GROUP)
