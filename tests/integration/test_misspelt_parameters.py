"""A query parameter that looks like a misspelt one is refused, and the nearest one named."""

import pytest
from falcon import testing
from sqlalchemy import Engine

from serving.app import create_app
from tests.integration.published import NOW

HISTORY = "/api/stats/network/history"


@pytest.fixture
def client(engine: Engine) -> testing.TestClient:
    return testing.TestClient(create_app(engine, lambda: NOW, []))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("path", "parameter", "nearest"),
    [
        (HISTORY, "granularty", "granularity"),
        (HISTORY, "Granularity", "granularity"),
        (HISTORY, "interval", "granularity"),
        (HISTORY, "agregate", "aggregate"),
        (HISTORY, "from", "start"),
        (HISTORY, "ends", "end"),
        (HISTORY, "fromat", "format"),
        ("/api/vens", "Limit", "limit"),
        ("/api/vens/history", "venIds", "ids"),
        ("/api/vens/history", "id", "ids"),
        ("/api/vens/history", "groups", "group"),
        ("/api/loads/history", "types", "type"),
        ("/api/forecast", "until", "end"),
        ("/api/vens/summary", "afters", "after"),
        ("/api/vens/v/circuits/history", "loadId", "load_id"),
        ("/api/events/history", "strat", "start"),
        ("/api/events/e/performance", "base_line", "baseline"),
        ("/api/stream", "last_event_id", "lastEventId"),
    ],
)
def test_the_nearest_name_is_suggested(
    client: testing.TestClient, path: str, parameter: str, nearest: str
) -> None:
    """`?granularty=1h` once answered five minutes, without a word."""
    refused = client.simulate_get(path, params={parameter: "1"})
    assert refused.status_code == 400
    assert f"{parameter} is unknown; did you mean {nearest}?" in refused.json["detail"]


@pytest.mark.thorough
@pytest.mark.parametrize("query", ["_=17", "v=2", "utm_source=x", "color=red", ""])
@pytest.mark.parametrize("path", [HISTORY, "/api/vens/summary", "/api/stats/network"])
def test_names_that_resemble_none_are_ignored(client: testing.TestClient, path: str, query: str) -> None:
    assert client.simulate_get(path, query_string=query).status_code == 200


def test_a_route_without_such_a_parameter_ignores_it(client: testing.TestClient) -> None:
    assert client.simulate_get("/api/stats/network", query_string="granularty=1h").status_code == 200


def test_head_and_get_agree(client: testing.TestClient) -> None:
    assert client.simulate_head(HISTORY, query_string="granularty=1h").status_code == 400
