"""A history with too many points is a 400, which names a granularity that fits."""

from datetime import timedelta

import pytest
from falcon import testing
from sqlalchemy import Engine

from ingest.storing.store import Store
from serving.app import create_app
from serving.routes import AppOptions
from tests.integration.catching_up import catch_up
from tests.integration.published import NOW, THREE, batch_of, telemetry

MAX_POINTS = 600
PATHS = ("/api/stats/network/history", "/api/vens/ven-1/history", "/api/vens/ven-1/loads/hvac1/history")


@pytest.fixture
def client(engine: Engine) -> testing.TestClient:
    return testing.TestClient(create_app(engine, lambda: NOW, [], AppOptions(max_points=MAX_POINTS)))


def test_a_long_history(client: testing.TestClient, store: Store, engine: Engine) -> None:
    """Ten minutes and a second are stored: 601 seconds, of which 600 may be asked for."""
    loads = [{"id": "hvac1", "currentPowerKw": 1}]
    instants = (THREE + timedelta(seconds=n) for n in range(MAX_POINTS + 1))
    store.write(batch_of(*(telemetry("ven-1", at, loads=loads) for at in instants)))
    for _ in ("pending", "in the summary"):
        for path in PATHS:
            for bounds in ({}, {"start": "0001-01-01", "end": "9000-01-01"}):
                refused = client.simulate_get(path, params=bounds | {"granularity": "1s"})
                assert refused.status_code == 400, path
                assert refused.json["detail"].startswith("granularity must be 2s or coarser"), path
            enough = client.simulate_get(path, params={"granularity": "2s"})
            assert len(enough.json["points"]) == 301
            asked = {"granularity": "1s", "start": "2024-07-10T15:00:01Z", "end": "2024-07-10T15:10:00Z"}
            assert len(client.simulate_get(path, params=asked).json["points"]) == MAX_POINTS
        catch_up(engine)


def test_few_samples_are_few_points(client: testing.TestClient, store: Store, engine: Engine) -> None:
    """However far apart they are."""
    loads = [{"id": "hvac1", "currentPowerKw": 1}]
    instants = (THREE - timedelta(days=n, seconds=n) for n in range(10))
    store.write(batch_of(*(telemetry("ven-1", at, loads=loads) for at in instants)))
    for _ in ("pending", "in the summary"):
        for path in PATHS:
            answer = client.simulate_get(path, params={"granularity": "1s"})
            assert (answer.status_code, len(answer.json["points"])) == (200, 10)
        catch_up(engine)


def test_a_range_without_end_is_as_long_as_what_is_stored(client: testing.TestClient, store: Store) -> None:
    store.write(batch_of(telemetry("ven-1", loads=[{"id": "hvac1"}])))
    for path in PATHS:
        for asked in ({}, {"start": "0001-01-01"}, {"start": "0001-01-01", "end": "9000-01-01"}):
            answer = client.simulate_get(path, params=asked | {"granularity": "1s"})
            assert (answer.status_code, len(answer.json["points"])) == (200, 1), answer.text


def test_another_ven_does_not_count(client: testing.TestClient, store: Store, engine: Engine) -> None:
    instants = [THREE + timedelta(seconds=n) for n in range(MAX_POINTS)]
    store.write(
        batch_of(telemetry("ven-1", THREE - timedelta(days=3)), *(telemetry("ven-2", at) for at in instants))
    )
    for _ in ("pending", "in the summary"):
        for ven_id in ("ven-1", "ven-2"):
            assert client.simulate_get(f"/api/vens/{ven_id}/history?granularity=1s").status_code == 200
        refused = client.simulate_get("/api/stats/network/history?granularity=1s")
        assert "2024-07-07T15:00:00Z" in refused.json["detail"]
        catch_up(engine)
