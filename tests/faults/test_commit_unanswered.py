"""The connection to the database ends at the COMMIT of a batch."""

from functools import partial

import pytest

from tests.faults.deadline import until
from tests.faults.proxy import Cut, PostgresProxy
from tests.faults.site import SETTLED_WITHIN_S, Site

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-database")]

CUTS: dict[Cut, int] = {"answer": 10, "question": 10, "client": 2}
"""The last one waits each time until the server gives up a client that is silent."""


@pytest.mark.parametrize(
    ("cut", "broker"),
    [
        ("answer", "mosquitto"),
        ("answer", "embedded"),
        ("question", "mosquitto"),
        ("question", "embedded"),
        ("client", "mosquitto"),
    ],
    indirect=["broker"],
)
def test_nobody_knows_what_became_of_a_commit(site: Site, messages: int, cut: Cut) -> None:
    """Committed, aborted, or still open: ingest cannot know, and retries."""
    with PostgresProxy(site.directory / "proxy", site.database_url) as proxy:
        worker = site.ingest(database_url=proxy.url)
        sender = site.sender(messages, limit=0)
        for number in range(1, CUTS[cut] + 1):
            proxy.cut_next(cut)
            sender.limit = number * messages // (CUTS[cut] + 1)
            until(partial(proxy.has_cut, number), SETTLED_WITHIN_S, lambda: f"{proxy.cuts} cuts")
        sender.limit = messages
        site.settle(sender, f"connection cut at {proxy.cuts} commits, by {cut}")
        # A cut may also meet the probe, by which ingest finds out whether the database stores anything; and
        # where the server still holds the locks of a client that it has not given up, an attempt fails more.
        assert worker.has_logged("store_failed") >= CUTS[cut] // 2
