"""Unknown ids: the document has a 404 for exactly the routes that respond with one."""

import re
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from falcon import testing
from sqlalchemy import Engine

from ingest.storing.store import Store
from serving.app import api_document, create_app
from serving.resources.pages import docs_files
from tests.integration.catching_up import catch_up
from tests.integration.published import NOW, batch_of, telemetry

DOCUMENT = api_document()
OPERATIONS = [
    (method.upper(), path)
    for path, item in DOCUMENT["paths"].items()
    for method in item
    if method != "parameters" and path not in {"/api/stream", "/api/session"}
]
BODIES: dict[str, dict[str, object]] = {
    "ShedRequest": {"amountKw": 1},
    "VenUpdate": {"name": "x"},
    "LoadUpdate": {"name": "x"},
    "EventUpdate": {"priority": 7},
    "VenCreate": {"name": "x", "location": {"lat": 1, "lon": 1}},
    "EventCreate": {
        "startTime": "2999-01-15T17:00:00Z",
        "endTime": "2999-01-15T18:00:00Z",
        "requestedReductionKw": 1,
    },
    "OptOutCreate": {"from": "2999-01-15T17:00:00Z", "to": "2999-01-15T18:00:00Z"},
    "GroupCreate": {"name": "x"},
    "GroupUpdate": {"name": "x"},
    "WebhookCreate": {"url": "https://receiver.example/", "kinds": ["events"]},
    "WebhookUpdate": {"enabled": False},
}
"""Something that each shape allows."""
FORECAST_OF_EV = """
INSERT INTO load_type_forecasts (load_type, half_hour, origin, used_days, shed_days)
VALUES ('ev', '2026-01-15 12:00Z', '2026-01-15 12:00Z', 0, 0)
"""
"""Without any forecast, none is missing."""

MANY_WEBHOOKS = """
INSERT INTO webhooks (webhook_id, url, kinds, secret, enabled, created_at)
SELECT 'hook-' || n, 'https://receiver.example/', '{events}', 'whsec_', false, now()
FROM generate_series(1, 100) n
"""
"""As many as there may be, all of them disabled."""

CREDENTIAL = """
INSERT INTO ven_credentials (ven_id, revision, enabled, created_at, changed_at, changed_by, next_attempt_at)
VALUES ('ven-1', 1, true, now(), now(), 'somebody', now())
"""

RANGE = {"start": "2026-01-15T17:00:00Z", "end": "2026-01-15T18:00:00Z"}


def _query(operation: dict[str, Any]) -> dict[str, str]:
    """A group and a type that are not there, where one may be named; a range, where one must be given."""
    names = {each.get("$ref", "").rpartition("/")[2] for each in operation.get("parameters", ())}
    unknown = {name.lower(): "nobody" for name in names & {"Group", "Type"}}
    return unknown | (RANGE if "WindowStart" in names else {})


def _body(operation: dict[str, object]) -> object:
    found = re.search(r"schemas/(\w+)", repr(operation.get("requestBody", "")))
    return None if found is None else BODIES[found[1]]


@pytest.mark.thorough
@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_unknown_things_are_a_404_where_the_document_says_so(
    method: str, path: str, engine: Engine, connection: psycopg.Connection
) -> None:
    connection.execute(FORECAST_OF_EV.encode())
    client = testing.TestClient(create_app(engine, lambda: datetime.now(UTC), []))
    operation = DOCUMENT["paths"][path][method.lower()]
    asked = path.replace("{digest}", "0" * 16).replace("{asset}", next(iter(docs_files())))
    path_asked = re.sub(r"{\w+}", "nobody", asked)
    answer = client.simulate_request(method, path_asked, params=_query(operation), json=_body(operation))
    assert (answer.status_code == 404) == ("404" in operation["responses"]), answer.text
    assert str(answer.status_code) in operation["responses"], answer.text


def test_conflicts_are_a_409_where_the_document_says_so(
    engine: Engine, connection: psycopg.Connection, store: Store
) -> None:
    """Each is provoked: what stands in the document is seen, and what is seen stands there."""
    client = testing.TestClient(create_app(engine, lambda: datetime.now(UTC), []))
    made = BODIES["VenCreate"] | {"id": "ven-1"}
    planned = BODIES["EventCreate"] | {"id": "evt-1"}
    assert client.simulate_post("/api/vens", json=made).status_code == 201
    assert client.simulate_post("/api/events", json=planned).status_code == 201
    store.write(batch_of(telemetry("ven-1", NOW, loads=[{"id": "off", "enabled": False}])))
    catch_up(engine)
    group = {"id": "g", "name": "x", "venIds": ["ven-1"]}
    assert client.simulate_post("/api/groups", json=group).status_code == 201
    provoked = [
        ("post", "/api/vens", made),
        ("post", "/api/vens/{venId}/loads/{loadId}/commands/shed", BODIES["ShedRequest"]),
        ("post", "/api/groups", group),
        ("delete", "/api/groups/{groupId}", None),
        ("post", "/api/events", BODIES["EventCreate"]),
        ("get", "/api/events/{eventId}/performance", None),
        ("patch", "/api/events/{eventId}", BODIES["EventUpdate"]),
        ("delete", "/api/events/{eventId}", None),
        ("post", "/api/webhooks", BODIES["WebhookCreate"]),
        ("post", "/api/webhooks/{webhookId}/test", None),
        ("post", "/api/vens/{venId}/credential", None),
        ("post", "/api/vens/{venId}/credential/rotate", None),
    ]
    connection.execute(MANY_WEBHOOKS.encode())
    connection.execute(CREDENTIAL.encode())
    connection.execute("UPDATE events SET status = 'completed'")
    targeted = planned | {"id": "evt-2", "targets": {"groups": ["g"]}}
    assert client.simulate_post("/api/events", json=targeted).status_code == 201
    for method, path, body in provoked:
        ids = {"venId": "ven-1", "loadId": "off", "groupId": "g", "eventId": "evt-1", "webhookId": "hook-1"}
        asked = path.format(**ids)
        answer = client.simulate_request(method.upper(), asked, json=body)
        assert answer.status_code == 409, (method, path, answer.status_code, answer.text)
    assert {(method, path) for method, path, _ in provoked} == {
        (method, path)
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if method != "parameters" and "409" in operation["responses"]
    }
