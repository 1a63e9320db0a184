"""Ids with slashes are reached by their percent-encoded form, and never select another resource."""

from urllib.parse import quote

import pytest
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from ingest.storing.store import Store
from serving.app import create_app
from tests.examples import costly
from tests.integration.published import NOW, THREE, batch_of, telemetry

LOADS = ("a", "/DE/G1/INV/1", "a/history", "a%2Fhistory", "a/commands/shed", "x y;z", "ü/ö")


@pytest.fixture
def app(engine: Engine, store: Store) -> testing.TestClient:
    for number, load_id in enumerate(LOADS):
        loads = [{"id": load_id, "currentPowerKw": float(number)}]
        store.write(batch_of(telemetry(f"v{number}", THREE, loads=loads)))
    return testing.TestClient(create_app(engine, lambda: NOW, []))


@pytest.mark.thorough
@pytest.mark.parametrize("number", range(len(LOADS)))
def test_each_load_is_reached_everywhere(app: testing.TestClient, number: int) -> None:
    load_id = LOADS[number]
    path = f"/api/vens/v{number}/loads/{quote(load_id, safe='')}"
    assert app.simulate_get(path).json["id"] == load_id
    assert app.simulate_get(path).json["currentPowerKw"] == float(number)
    assert len(app.simulate_get(f"{path}/history").json["points"]) == 1
    assert app.simulate_patch(path, json={"name": "renamed"}).json["name"] == "renamed"
    shed = app.simulate_post(f"{path}/commands/shed", json={"amountKw": 1})
    assert shed.status_code == 202
    assert shed.json["loadId"] == load_id


def test_an_encoded_slash_selects_no_other_resource(app: testing.TestClient) -> None:
    """`/loads/a%2Fhistory` was answered with the history of load `a`."""
    for encoded in ("a%2Fhistory", "a%2fhistory", "a%2Fcommands%2Fshed"):
        assert app.simulate_get(f"/api/vens/v0/loads/{encoded}").status_code == 404
    assert app.simulate_get("/api/vens/v0%2Floads").status_code == 404
    assert app.simulate_get("/api/vens/v0/loads/a/history").status_code == 200


@costly(2)
@given(st.text(st.characters(min_codepoint=33, exclude_categories=["C", "Z"]), min_size=1, max_size=12))
def test_an_unknown_id_is_quoted_as_it_was_sent(app: testing.TestClient, load_id: str) -> None:
    answer = app.simulate_get(f"/api/vens/v0/loads/{quote(load_id, safe='')}")
    if load_id != "a" and load_id not in {".", ".."}:
        assert answer.status_code == 404, answer.text
        assert repr(load_id)[1:-1] in answer.json["detail"] or load_id in answer.json["detail"]
