"""A fleet comes in by a file, goes out by a file, and either all of it is stored or nothing."""

import json
from typing import Any

import psycopg
import pytest
from falcon import testing
from sqlalchemy import Engine

from serving.app import create_app
from serving.imports.service import VenImports
from tests.integration.published import NOW, rows, value
from tests.integration.test_keys_program import administrate

FLEET = (
    "id,name,lat,lon,registrationId,address,region,tags\r\n"
    "a,Dairy farm,52.52,13.405,r-1,Main St 1,north,big;old\r\n"
    "b,'=1+1,,,,,,\r\n"
    'ü,"Mill, old",-1.5,0.0,,,south,\r\n'
)
COUNT = "SELECT count(*) FROM vens WHERE retired_at IS NULL"


@pytest.fixture
def client(engine: Engine) -> testing.TestClient:
    return testing.TestClient(create_app(engine, lambda: NOW, []))


def put(client: testing.TestClient, text: str, query: str = "", status: int = 200) -> Any:
    headers = {"Content-Type": "text/csv; charset=utf-8"}
    response = client.simulate_post(f"/api/vens/import{query}", body=text.encode(), headers=headers)
    assert response.status_code == status, response.text
    return response.json


def counts(report: Any) -> tuple[int, ...]:
    return tuple(report[name] for name in ("created", "restored", "changed", "unchanged"))


def test_a_fleet_comes_in_and_goes_out(client: testing.TestClient) -> None:
    assert counts(put(client, FLEET, "?dryRun=1")) == (3, 0, 0, 0)
    assert client.simulate_get("/api/vens").json == []
    assert counts(put(client, FLEET)) == (3, 0, 0, 0)
    farm = client.simulate_get("/api/vens/a").json
    assert (farm["name"], farm["address"], farm["tags"]) == ("Dairy farm", "Main St 1", ["big", "old"])
    assert client.simulate_get("/api/vens/b").json["name"] == "=1+1"
    exported = client.simulate_get("/api/vens/export")
    assert exported.headers["content-type"] == "text/csv"
    assert exported.content.decode() == FLEET
    assert counts(put(client, exported.content.decode())) == (0, 0, 0, 3)


def test_only_what_a_file_has_is_changed(client: testing.TestClient) -> None:
    put(client, FLEET)
    client.simulate_delete("/api/vens/%C3%BC")
    report = put(client, "id,name,region\na,Dairy farm,\nb,Barn,west\nü,Mill,south\n")
    assert counts(report) == (0, 1, 2, 0)
    farm = client.simulate_get("/api/vens/a").json
    assert (farm["region"], farm["address"], farm["location"]["lat"]) == ("", "Main St 1", 52.52)
    assert client.simulate_get("/api/vens/%C3%BC").json["name"] == "Mill"


def test_one_wrong_line_and_nothing_is_stored(client: testing.TestClient) -> None:
    wrong = "id,name,lat,lon\na,x,1,2\nb,y,91,2\n"
    problem = put(client, wrong, status=400)
    assert "line 3: lat" in problem["detail"]
    assert client.simulate_get("/api/vens").json == []
    report = put(client, wrong, "?dryRun=1")
    assert report["problems"] == [
        {"line": 3, "field": "lat", "detail": "must be degrees from -90 to 90, such as 13.405, not 91"}
    ]
    assert counts(report) == (1, 0, 0, 0)


def test_what_is_no_csv_is_refused(client: testing.TestClient) -> None:
    sent = {"body": b"id\na", "headers": {"Content-Type": "application/json"}}
    assert client.simulate_post("/api/vens/import", **sent).status_code == 415
    response = client.simulate_post(
        "/api/vens/import", body=b"id\n\xff", headers={"Content-Type": "text/csv"}
    )
    assert (response.status_code, "UTF-8" in response.text) == (400, True)


def test_a_failure_in_the_middle_stores_nothing(engine: Engine, connection: psycopg.Connection) -> None:
    text = "id\n" + "".join(f"v{number:05}\n" for number in range(2_500))

    def fail(done: int, _rows: int) -> None:
        if done > 1_000:
            raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        VenImports(engine, lambda: NOW).run(text, dry_run=False, progress=fail)
    assert value(connection, COUNT) == 0


def test_ten_thousand_vens(client: testing.TestClient, connection: psycopg.Connection) -> None:
    """More bytes than another body may have; the export is streamed."""
    lines = "".join(
        f"ven-{n:05},House {n},52.{n:05},13.{n:05},,{'Long street ' * 8}{n},north,a;b\r\n"
        for n in range(10_000)
    )
    text = FLEET.partition("\n")[0] + "\n" + lines
    assert len(text) > 1_048_576
    assert counts(put(client, text)) == (10_000, 0, 0, 0)
    assert value(connection, COUNT) == 10_000
    exported = client.simulate_get("/api/vens/export").text
    assert counts(put(client, exported)) == (0, 0, 0, 10_000)


@pytest.mark.thorough
def test_a_file_at_a_terminal(database_url: str, connection: psycopg.Connection, tmp_path: Any) -> None:
    file = tmp_path / "fleet.csv"
    file.write_bytes(FLEET.encode())
    assert "3 new" in administrate(database_url, "vens", "import", str(file), "--dry-run")
    assert value(connection, COUNT) == 0
    connection.commit()
    done = administrate(database_url, "vens", "import", str(file), settings={"LOG_FORMAT": "json"})
    assert json.loads(done)["created"] == 3
    assert administrate(database_url, "vens", "export").encode() == FLEET.encode().replace(b"\r\n", b"\n")
    file.write_text("id,lat,lon\nx,1,2\ny,100,2\n")
    told = administrate(database_url, "vens", "import", str(file), status=1)
    assert "line 3: lat must be" in told
    assert "nothing was imported" in told
    audited = rows(connection, "SELECT method, path, status FROM audit_log")
    assert audited == [("vens", f"import {file}", 200)]
