"""What is not there: the document says of each route whether it answers 404, and the service agrees."""

import re
from datetime import UTC, datetime

import psycopg
import pytest
from falcon import testing
from sqlalchemy import Engine

from serving.app import api_document, create_app
from serving.resources.pages import docs_files

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
}
"""Something that each shape allows."""


def _body(operation: dict[str, object]) -> object:
    found = re.search(r"schemas/(\w+)", repr(operation.get("requestBody", "")))
    return None if found is None else BODIES[found[1]]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_unknown_things_are_a_404_where_the_document_says_so(method: str, path: str, engine: Engine) -> None:
    client = testing.TestClient(create_app(engine, lambda: datetime.now(UTC), []))
    operation = DOCUMENT["paths"][path][method.lower()]
    asked = path.replace("{digest}", "0" * 16).replace("{asset}", next(iter(docs_files())))
    answer = client.simulate_request(method, re.sub(r"{\w+}", "nobody", asked), json=_body(operation))
    assert (answer.status_code == 404) == ("404" in operation["responses"]), answer.text
    assert str(answer.status_code) in operation["responses"], answer.text


def test_conflicts_are_a_409_where_the_document_says_so(
    engine: Engine, connection: psycopg.Connection
) -> None:
    """Each is provoked: what stands in the document is seen, and what is seen stands there."""
    client = testing.TestClient(create_app(engine, lambda: datetime.now(UTC), []))
    made = BODIES["VenCreate"] | {"id": "ven-1"}
    planned = BODIES["EventCreate"] | {"id": "evt-1"}
    assert client.simulate_post("/api/vens", json=made).status_code == 201
    assert client.simulate_post("/api/events", json=planned).status_code == 201
    provoked = [
        ("post", "/api/vens", made),
        ("post", "/api/events", BODIES["EventCreate"]),
        ("get", "/api/events/{eventId}/performance", None),
        ("patch", "/api/events/{eventId}", BODIES["EventUpdate"]),
        ("delete", "/api/events/{eventId}", None),
    ]
    connection.execute("UPDATE events SET status = 'completed'")
    assert client.simulate_post("/api/events", json=planned | {"id": "evt-2"}).status_code == 201
    for method, path, body in provoked:
        asked = path.replace("{eventId}", "evt-1")
        answer = client.simulate_request(method.upper(), asked, json=body)
        assert answer.status_code == 409, (method, path, answer.status_code, answer.text)
    assert {(method, path) for method, path, _ in provoked} == {
        (method, path)
        for path, item in DOCUMENT["paths"].items()
        for method, operation in item.items()
        if method != "parameters" and "409" in operation["responses"]
    }
