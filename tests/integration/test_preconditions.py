"""Changes with a precondition: `If-Match` and `If-None-Match` on PATCH and DELETE."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from falcon import testing
from sqlalchemy import Engine

from ingest.storing.store import Store
from serving.app import create_app
from tests.integration.published import NOW, THREE, batch_of, telemetry


@pytest.fixture
def client(engine: Engine, store: Store) -> testing.TestClient:
    store.write(batch_of(telemetry("v", THREE, loads=[{"id": "l"}])))
    return testing.TestClient(create_app(engine, lambda: NOW, []))


PATH = "/api/vens/v"


def patch(client: testing.TestClient, name: str, **headers: str) -> int:
    return client.simulate_patch(PATH, json={"name": name}, headers=headers).status_code


def test_a_change_of_what_the_client_has_seen(client: testing.TestClient) -> None:
    tag = client.simulate_get(PATH).headers["etag"]
    assert patch(client, "one", **{"If-Match": '"other"'}) == 412
    assert patch(client, "one", **{"If-Match": f"W/{tag}"}) == 412
    assert patch(client, "one", **{"If-Match": f'"x", {tag}'}) == 200
    assert patch(client, "two", **{"If-Match": tag}) == 412
    assert patch(client, "two", **{"If-Match": "*"}) == 200
    zipped = client.simulate_get(PATH, headers={"Accept-Encoding": "gzip"}).headers["etag"]
    assert zipped != client.simulate_get(PATH).headers["etag"]
    assert patch(client, "three", **{"If-Match": zipped}) == 200
    assert patch(client, "four", **{"If-None-Match": "*"}) == 412
    assert patch(client, "four", **{"If-None-Match": '"other"'}) == 200
    assert client.simulate_get(PATH).json["name"] == "four"


@pytest.mark.parametrize("unreadable", ["", ",,,", " ", "unquoted", '"open'])
def test_a_list_without_a_tag_matches_nothing(client: testing.TestClient, unreadable: str) -> None:
    """A client that lost its tag on the way must not overwrite what it has not seen."""
    assert patch(client, "blind", **{"If-Match": unreadable}) == 412
    assert patch(client, "seen", **{"If-None-Match": unreadable}) == 200
    assert client.simulate_get(PATH).json["name"] == "seen"


def test_deleting(client: testing.TestClient) -> None:
    assert client.simulate_delete(PATH, headers={"If-Match": '"other"'}).status_code == 412
    tag = client.simulate_get(PATH).headers["etag"]
    assert client.simulate_delete(PATH, headers={"If-Match": tag}).status_code == 204
    assert client.simulate_delete(PATH, headers={"If-Match": "*"}).status_code == 404


def test_of_many_that_saw_the_same_one_succeeds(client: testing.TestClient) -> None:
    tag, together = client.simulate_get(PATH).headers["etag"], Barrier(4)

    def change(number: int) -> int:
        together.wait(10)
        return patch(client, f"name {number}", **{"If-Match": tag})

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(change, range(4))) == [200, 412, 412, 412]


@pytest.mark.parametrize("path", ["/api/stats/network?group=nobody", "/api/vens?group=nobody"])
@pytest.mark.parametrize("method", ["PATCH", "DELETE"])
def test_a_method_that_there_is_not_is_a_405_whatever_the_condition(
    method: str, path: str, engine: Engine
) -> None:
    client = testing.TestClient(create_app(engine, lambda: NOW, []))
    answer = client.simulate_request(method, path, headers={"If-None-Match": "*"})
    assert answer.status_code == 405
