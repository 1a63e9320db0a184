"""Lists and histories as columns: what a client asks for, and that the frames are the JSON."""

import io
import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from falcon import testing
from sqlalchemy import Engine, text

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from ingest.storing.store import Store
from serving.app import create_app
from serving.http import formats
from serving.http.parameters import MEDIA_TYPES
from serving.http.responses import AT_FIRST
from tests.integration.catching_up import catch_up
from tests.integration.published import MAX_AHEAD, NOW, THREE, telemetry

ARROW = "application/vnd.apache.arrow.stream"
PARQUET = "application/vnd.apache.parquet"
LISTS = ("/api/vens", "/api/vens/summary", "/api/vens/ven-1/loads", "/api/stats/loads")
HISTORIES = (
    "/api/stats/network/history",
    "/api/vens/ven-1/history",
    "/api/vens/ven-1/loads/hvac1/history",
    "/api/vens/history",
    "/api/loads/history",
)
INSTANTS = {"timestamp", "createdAt", "lastSeen"}
READERS: dict[str, Callable[[bytes], pl.DataFrame]] = {
    ARROW: lambda body: pl.read_ipc_stream(io.BytesIO(body)),
    PARQUET: lambda body: pl.read_parquet(io.BytesIO(body)),
}
ODD = 'Käthe "K", \n1'
OF_EVENTS = {"eventId", "requestedReductionKw"}
BATCH = formats.ROWS_AT_ONCE


@pytest.fixture
def client(engine: Engine) -> testing.TestClient:
    return testing.TestClient(create_app(engine, lambda: NOW, []))


def ingest(store: Store, *messages: Received) -> None:
    store.write(Batch.of(messages, MAX_AHEAD))


@pytest.fixture
def some_vens(store: Store, engine: Engine) -> None:
    """Thirty reports of three VENs, with names that CSV has to quote, and one VEN without reports."""
    for minute in range(10):
        loads = [
            {"id": "hvac1", "currentPowerKw": minute / 8, "name": ODD, "type": "hvac"},
            {"id": "pv1", "currentPowerKw": -1.5},
        ]
        at = THREE + timedelta(minutes=minute)
        ingest(store, *(telemetry(f"ven-{n}", at, used_kw=n + minute, loads=loads) for n in (1, 2, 3)))
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO vens (ven_id, name, created_at) VALUES ('ven-new', '', now())"))
        connection.execute(text("UPDATE vens SET latitude_deg = 52.5 WHERE ven_id = 'ven-2'"))
    catch_up(engine)


def as_rows(frame: pl.DataFrame) -> list[dict[str, Any]]:
    """A frame as JSON has it, which leaves out an event where there is none."""
    assert all(frame.schema[name] == pl.Datetime("us", "UTC") for name in INSTANTS & set(frame.columns))
    return [
        {
            name: _instant(value) if isinstance(value, datetime) else value
            for name, value in row.items()
            if value is not None or name not in OF_EVENTS
        }
        for row in frame.to_dicts()
    ]


def _instant(value: datetime) -> str:
    return value.isoformat().replace("+00:00", "Z")


def entries_of(answer: Any) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = answer["points"] if isinstance(answer, dict) else answer
    return entries


def flattened(entry: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """An entry as CSV has it."""
    flat: dict[str, Any] = {}
    for name, value in entry.items():
        flat |= (
            flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
        )
    return flat


@pytest.mark.usefixtures("some_vens")
def test_frames_equal_the_json(client: testing.TestClient) -> None:
    for path in (*LISTS, *HISTORIES, *(f"{path}?aggregate=energy" for path in HISTORIES)):
        expected = entries_of(client.simulate_get(path).json)
        assert expected
        for media_type, read in READERS.items():
            answer = client.simulate_get(path, headers={"Accept": media_type})
            assert (answer.status_code, answer.headers["content-type"]) == (200, media_type)
            assert as_rows(read(answer.content)) == expected


@pytest.mark.usefixtures("some_vens")
def test_csv_equals_the_json(client: testing.TestClient) -> None:
    for path in (*LISTS, *HISTORIES, *(f"{path}?aggregate=mean" for path in HISTORIES)):
        answer = client.simulate_get(path, headers={"Accept": "text/csv"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "text/csv")
        expected = [flattened(entry) for entry in entries_of(client.simulate_get(path).json)]
        assert expected
        rows = as_rows(pl.read_csv(answer.content, try_parse_dates=True))
        assert [list(row) for row in rows] == [list(entry) for entry in expected]
        for row, entry in zip(rows, expected, strict=True):
            for name, value in entry.items():
                assert (json.loads(row[name]) if isinstance(value, list) else row[name]) == value, name


def test_nothing_has_columns_too(client: testing.TestClient, store: Store) -> None:
    ingest(store, telemetry("ven-1"))
    path = "/api/vens/ven-1/history?start=2001-01-01&end=2001-01-02"
    for media_type, read in READERS.items():
        frame = read(client.simulate_get(path, headers={"Accept": media_type}).content)
        assert frame.schema == {
            "timestamp": pl.Datetime("us", "UTC"),
            "usedPowerKw": pl.Float64,
            "shedPowerKw": pl.Float64,
            "eventId": pl.String,
            "requestedReductionKw": pl.Float64,
        }
        assert frame.is_empty()
    plain = client.simulate_get(path, headers={"Accept": "text/csv"})
    assert plain.text == "timestamp,usedPowerKw,shedPowerKw,eventId,requestedReductionKw\n"


# What the client likes best


PREFERENCES: tuple[tuple[dict[str, str], str], ...] = (
    ({}, "application/json"),
    ({"Accept": "*/*"}, "application/json"),
    ({"Accept": "application/*"}, "application/json"),
    ({"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}, "application/json"),
    ({"Accept": "application/json;q=0.4, text/csv;q=0.5"}, "text/csv"),
    ({"Accept": "text/*"}, "text/csv"),
    ({"Accept": f"{PARQUET}, */*;q=0.1"}, PARQUET),
    ({"Accept": f"{PARQUET};q=0.3, {ARROW};q=0.7"}, ARROW),
    ({"Accept": "application/json;q=0, */*"}, ARROW),
)


def test_negotiation(client: testing.TestClient) -> None:
    for path in ("/api/vens/summary", "/api/stats/network/history"):
        for headers, media_type in PREFERENCES:
            response = client.simulate_get(path, headers=headers)
            assert (response.status_code, response.headers["content-type"]) == (200, media_type), headers
            assert "Accept" in response.headers["vary"].split(", ")


def test_what_we_do_not_have_is_told(client: testing.TestClient) -> None:
    for path in (*LISTS, *HISTORIES):
        for accepted in ("image/png", "application/json;q=0", "nonsense", "text/html, image/*;q=0.1"):
            response = client.simulate_get(path, headers={"Accept": accepted})
            assert response.status_code == 406
            assert response.headers["content-type"] == "application/problem+json"
            assert "Accept" in response.headers["vary"].split(", ")
            assert ARROW in response.json["detail"]


def test_a_parameter_wins_over_accept(client: testing.TestClient) -> None:
    for name, media_type in MEDIA_TYPES.items():
        response = client.simulate_get(f"/api/vens?format={name}", headers={"Accept": "image/png"})
        assert (response.status_code, response.headers["content-type"]) == (200, media_type)
    wrong = client.simulate_get("/api/vens?format=xml")
    assert wrong.status_code == 400
    assert wrong.json["detail"] == "format must be one of json, arrow, parquet, csv"


@pytest.mark.usefixtures("some_vens")
def test_each_format_has_its_own_tag(client: testing.TestClient) -> None:
    for path in (*LISTS, *HISTORIES):
        tags = set()
        for media_type in MEDIA_TYPES.values():
            first = client.simulate_get(path, headers={"Accept": media_type})
            tags.add(first.headers["etag"])
            again = client.simulate_get(
                path, headers={"Accept": media_type, "If-None-Match": first.headers["etag"]}
            )
            assert (again.status_code, again.content) == (304, b"")
            assert "Accept" in again.headers["vary"].split(", ")
        assert len(tags) == 4


@pytest.mark.usefixtures("some_vens")
def test_pages_keep_their_format(client: testing.TestClient) -> None:
    first = client.simulate_get("/api/vens/summary?limit=2&format=arrow")
    assert READERS[ARROW](first.content)["id"].to_list() == ["ven-1", "ven-2"]
    following = first.headers["link"].removeprefix("<").partition(">")[0]
    second = client.simulate_get(following)
    assert READERS[ARROW](second.content)["id"].to_list() == ["ven-3", "ven-new"]


# Long answers


@pytest.mark.parametrize("points", [AT_FIRST - 1, AT_FIRST, 2 * BATCH + 7])
def test_long_answers_come_in_batches(points: int, client: testing.TestClient, store: Store) -> None:
    ingest(store, *(telemetry("ven-1", THREE + timedelta(seconds=n), used_kw=n / 8) for n in range(points)))
    path = "/api/vens/ven-1/history?granularity=1s"
    bodies = {}
    for media_type in MEDIA_TYPES.values():
        response = client.simulate_get(path, headers={"Accept": media_type})
        assert ("content-length" in response.headers) == (points < AT_FIRST)
        bodies[media_type] = response.content
    expected = [number / 8 for number in range(points)]
    for media_type, read in READERS.items():
        assert read(bodies[media_type])["usedPowerKw"].to_list() == expected
    assert pl.read_csv(bodies["text/csv"])["usedPowerKw"].to_list() == expected
    batches = [each.num_rows for each in pa.ipc.open_stream(bodies[ARROW])]
    groups = pq.ParquetFile(io.BytesIO(bodies[PARQUET])).metadata
    assert batches == [groups.row_group(number).num_rows for number in range(groups.num_row_groups)]
    assert batches[0] <= AT_FIRST, "the first byte does not wait for more"
    assert max(batches) <= BATCH


def test_a_coarser_history_warns_beside_the_columns(
    client: testing.TestClient, store: Store, engine: Engine
) -> None:
    ingest(store, telemetry("ven-1"))
    catch_up(engine)
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO horizons (resolution_s, since) VALUES (0, now())"))
    path = "/api/vens/ven-1/history?granularity=1s"
    told = client.simulate_get(path).json["warning"]
    for media_type in formats.MEDIA_WRITERS:
        response = client.simulate_get(path, headers={"Accept": media_type})
        assert response.headers["history-warning"] == told
        if media_type == ARROW:
            assert pa.ipc.open_stream(response.content).schema.metadata == {b"warning": told.encode()}
        if media_type == PARQUET:
            assert pq.read_schema(io.BytesIO(response.content)).metadata[b"warning"] == told.encode()
    exact = client.simulate_get("/api/vens/ven-1/history?granularity=1h", headers={"Accept": ARROW})
    assert "history-warning" not in exact.headers
