"""Headers of strict and of careless clients; and errors while the database is unavailable."""

import psycopg
import pytest
from falcon import testing
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ingest.storing.store import Store
from serving.app import create_app
from serving.http.problems import cause_of
from tests.integration.published import NOW, THREE, batch_of, telemetry


@pytest.fixture
def client(engine: Engine, store: Store) -> testing.TestClient:
    loads = [{"id": "=1+2", "name": "-a"}, {"id": "b", "name": "=HYPERLINK(1)", "currentPowerKw": -1.5}]
    store.write(batch_of(telemetry("v", THREE, loads=loads)))
    return testing.TestClient(create_app(engine, lambda: NOW, []))


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("Text/CSV", "text/csv"),
        ("TEXT/csv; Q=1, nonsense, ;;, application/json;q=0.1", "text/csv"),
        ("nonsense", None),
        ("x/y;q=nonsense, */*;q=0.1", "application/json"),
    ],
)
def test_accept(client: testing.TestClient, accept: str, media_type: str | None) -> None:
    answer = client.simulate_get("/api/vens/v/loads", headers={"Accept": accept})
    if media_type is None:
        assert answer.status_code == 406
    else:
        assert answer.headers["content-type"].startswith(media_type)


def test_a_body_in_any_case(client: testing.TestClient) -> None:
    headers = {"Content-Type": "Application/JSON; Charset=UTF-8"}
    assert client.simulate_patch("/api/vens/v", body='{"name": "n"}', headers=headers).status_code == 200


def test_allow_lists_head(client: testing.TestClient) -> None:
    refused = client.simulate_put("/api/vens/v")
    assert refused.status_code == 405
    assert refused.headers["allow"].split(", ") == ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH"]
    assert "HEAD" in client.simulate_options("/api/vens/v").headers["allow"]
    assert "HEAD" not in client.simulate_put("/api/vens/v/loads/b/commands/shed").headers["allow"]


def test_no_formula_reaches_a_spreadsheet(client: testing.TestClient) -> None:
    lines = client.simulate_get("/api/vens/v/loads?format=csv").text.splitlines()
    assert "'=1+2" in lines[1]
    assert "'-a" in lines[1]
    assert "'=HYPERLINK(1)" in lines[2]
    assert ",-1.5," in lines[2], "a number is no formula"
    assert client.simulate_get("/api/vens/v/loads").json[0]["name"] == "-a"


def failure(kind: type[psycopg.Error]) -> DBAPIError:
    return OperationalError("SELECT 1", {}, kind("it failed"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (failure(psycopg.errors.OutOfMemory), "lock table"),
        (failure(psycopg.errors.DiskFull), "disk"),
        (failure(psycopg.errors.TooManyConnections), "max_connections"),
        (failure(psycopg.errors.QueryCanceled), "in time"),
        (failure(psycopg.errors.LockNotAvailable), "lock"),
        (failure(psycopg.errors.UndefinedTable), "migrated"),
        (failure(psycopg.errors.ReadOnlySqlTransaction), "read-only"),
        (failure(psycopg.errors.DeadlockDetected), "40P01"),
        (failure(psycopg.OperationalError), "cannot be reached"),
        (psycopg.errors.AdminShutdown("so"), "shutting down"),
        (PoolTimeoutError("so"), "in use"),
    ],
)
def test_what_is_the_matter(error: DBAPIError | PoolTimeoutError | psycopg.Error, words: str) -> None:
    """A full lock table was called a database that cannot be reached."""
    assert words in cause_of(error)
