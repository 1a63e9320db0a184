"""The baseline of an event that was cancelled before its start is that of the window that was planned."""

from datetime import timedelta

import pytest
from falcon import testing
from sqlalchemy import Engine

from ingest.storing.store import Store
from serving.app import create_app
from tests.integration.published import NOW, batch_of, telemetry


@pytest.mark.parametrize("ahead", [timedelta(hours=3), timedelta(days=40_000)])
@pytest.mark.parametrize("query", ["", "?venId=ven-1"])
def test_the_planned_window_is_answered(engine: Engine, store: Store, ahead: timedelta, query: str) -> None:
    """All days between its cancelling and its start were computed: for one of a far future, for ever."""
    store.write(batch_of(telemetry("ven-1")))
    client = testing.TestClient(create_app(engine, lambda: NOW, []))
    ends = [f"{NOW + ahead + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}" for hours in (0, 1)]
    event = {"id": "e", "startTime": ends[0], "endTime": ends[1], "requestedReductionKw": 1}
    assert client.simulate_post("/api/events", json=event).status_code == 201
    assert client.simulate_delete("/api/events/e").status_code == 204
    series = client.simulate_get(f"/api/events/e/baseline{query}").json
    assert ([series["start"], series["end"]], len(series["points"])) == (ends, 12)
