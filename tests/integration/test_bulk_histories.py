"""Many histories in one answer: each is that of its own route, and totals are the sums of their parts."""

import io
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import polars as pl
import pytest
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from ingest.storing.store import Store
from jobs.storage.retention import drop_raw_days
from serving.app import create_app
from serving.history import bulk
from serving.routes import AppOptions
from tests.examples import costly
from tests.integration.catching_up import catch_up
from tests.integration.published import NOW, THREE, batch_of, telemetry
from tests.integration.test_groups import Api, make_group, windows
from tests.integration.whole_system import WholeSystem
from tests.oracle.compare import assert_same
from tests.oracle.messages import random_traffic

Rows = list[dict[str, Any]]
LAST_DIGIT = 0.001
"""Sums of floats depend on their order, and may be rounded to the next thousandth."""


@pytest.fixture(params=["consumed", "pending", "raw rows gone"])
def fleet(
    request: pytest.FixtureRequest, system: WholeSystem, monkeypatch: pytest.MonkeyPatch
) -> WholeSystem:
    """Random traffic of VENs, some with wide slots, one of them retired; few rows are read at a time."""
    monkeypatch.setattr(bulk, "ROWS_AT_ONCE", 40)
    traffic = random_traffic(8, 1_000, shuffled=True)
    system.ingest(traffic[:800])
    system.catch_up()
    system.ingest(traffic[800:])
    ven_ids = sorted(system.oracle.known_vens())
    for ven_id in ven_ids[::3]:
        system.client.simulate_patch(
            f"/api/vens/{quote(ven_id)}",
            json={"slotMinutes": 30, "slotMinutesSince": "2024-07-01T00:00:00Z"},
        )
    if request.param != "pending":
        system.catch_up()
    if request.param == "raw rows gone":
        with system.engine.begin() as connection:
            drop_raw_days(connection, NOW, {0: timedelta(days=2)})
    make_group(system, "odd", ven_ids[1::2])
    make_group(system, "empty", [])
    assert system.client.simulate_delete(f"/api/vens/{quote(ven_ids[-1])}").status_code == 204
    return system


def by_key(points: Iterable[dict[str, Any]], *names: str) -> dict[tuple[str, ...], Rows]:
    """The points of each history, without its key, in the order of the answer."""
    histories: dict[tuple[str, ...], Rows] = defaultdict(list)
    for point in points:
        rest = dict(point)
        histories[tuple(rest.pop(name) for name in names)].append(rest)
    return dict(histories)


def ven_path(ven_id: str) -> str:
    return f"/vens/{quote(ven_id, safe='')}/history"


def load_path(ven_id: str, load_id: str) -> str:
    return f"/vens/{quote(ven_id, safe='')}/loads/{quote(load_id, safe='')}/history"


def own_histories(
    system: WholeSystem, keys: Iterable[tuple[str, ...]], path: Callable[..., str], window: dict[str, str]
) -> dict[tuple[str, ...], Rows]:
    """Those that have points, each by its own route."""
    answers = {key: system.get(path(*key), **window)["points"] for key in keys}
    return {key: points for key, points in answers.items() if points}


def test_the_rows_of_a_ven_are_its_history(fleet: WholeSystem) -> None:
    keys: list[tuple[str, ...]] = [(ven["id"],) for ven in fleet.get("/vens")]
    members = {ven["id"] for ven in fleet.get("/vens", group="odd")}

    @costly(3)
    @given(windows(), st.sets(st.sampled_from(keys), min_size=1))
    def agree(window: dict[str, str], some: set[tuple[str, ...]]) -> None:
        own = own_histories(fleet, keys, ven_path, window)
        answer = fleet.get("/vens/history", **window)
        histories = by_key(answer["points"], "venId")
        assert_same(histories, own, LAST_DIGIT)
        assert list(histories) == sorted(histories)
        assert answer.get("warning") == fleet.get(ven_path(*keys[0]), **window).get("warning")
        named = fleet.get("/vens/history", **window, ids=",".join(key[0] for key in some))
        named_rows, expected = by_key(named["points"], "venId"), {key: own[key] for key in own if key in some}
        assert_same(named_rows, expected, LAST_DIGIT)
        of_group = fleet.get("/vens/history", **window, group="odd")
        expected = {key: own[key] for key in own if key[0] in members}
        assert_same(by_key(of_group["points"], "venId"), expected, LAST_DIGIT)

    agree()


def test_the_rows_of_a_group_are_its_history(fleet: WholeSystem) -> None:
    @costly(3)
    @given(windows())
    def agree(window: dict[str, str]) -> None:
        own = {
            (name,): points
            for name in ("empty", "odd")
            if (points := fleet.get("/stats/network/history", **window, group=name)["points"])
        }
        answer = fleet.get("/vens/history", **window, by="group")
        assert_same(by_key(answer["points"], "groupId"), own, LAST_DIGIT)
        one = fleet.get("/vens/history", **window, by="group", group="odd")
        assert_same(one, answer, LAST_DIGIT)

    agree()


@pytest.mark.thorough
def test_the_rows_of_a_load_are_its_history_and_those_of_a_type_their_sum(fleet: WholeSystem) -> None:
    fleet.run(0)  # which loads there are is as of the last cycle
    fleet.run(1)

    @costly(3)
    @given(windows())
    def agree(window: dict[str, str]) -> None:
        points = fleet.get("/loads/history", **window)["points"]
        types: dict[tuple[str, ...], str] = {
            (point["venId"], point["loadId"]): point.pop("type") for point in points
        }
        loads = by_key(points, "venId", "loadId")
        retired = {ven_id for ven_id, _ in fleet.oracle.known_loads()} - {v["id"] for v in fleet.get("/vens")}
        keys = [key for key in fleet.oracle.known_loads() if key[0] not in retired]
        assert_same(loads, own_histories(fleet, keys, load_path, window), LAST_DIGIT)
        totals = by_key(fleet.get("/loads/history", **window, by="type")["points"], "type")
        assert list(totals) == sorted(totals)
        assert {(name,) for name in types.values()} == totals.keys()
        for (name,), total in totals.items():
            one = fleet.get("/loads/history", **window, by="type", type=name)["points"]
            assert_same(by_key(one, "type"), {(name,): total}, LAST_DIGIT)
            of_type = fleet.get("/loads/history", **window, type=name)["points"]
            assert {point.pop("type") for point in of_type} == {name}
            some = {key: rows for key, rows in loads.items() if types[key] == name}
            assert_same(by_key(of_type, "venId", "loadId"), some, LAST_DIGIT)
            if window["aggregate"] != "mean":  # means do not add
                assert_sums(total, [row for rows in some.values() for row in rows])

    agree()


def assert_sums(total: Rows, parts: Rows) -> None:
    sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for part in parts:
        for name in part.keys() - {"timestamp"}:
            sums[part["timestamp"]][name] += part[name]
    assert [point["timestamp"] for point in total] == sorted(sums)
    for point in total:
        for name, value in sums[point["timestamp"]].items():
            assert point[name] == pytest.approx(value, abs=0.02)


def test_means_of_a_type_are_their_energy_over_the_hours_in_which_any_sent(
    engine: Engine, store: Store
) -> None:
    """One load sends in both slots, the other in one: 2 kW, then 2 + 4 kW."""
    first = [{"id": "l1", "type": "hvac", "currentPowerKw": 2.0}]
    store.write(
        batch_of(
            telemetry("a", THREE, 2.0, loads=first),
            telemetry("a", THREE + timedelta(minutes=5), 2.0, loads=first),
            telemetry("b", THREE + timedelta(minutes=5), 4.0, loads=[{**first[0], "currentPowerKw": 4.0}]),
        )
    )
    catch_up(engine)
    api = Api(testing.TestClient(create_app(engine, lambda: NOW, [])))
    window = {"granularity": "1h", "by": "type"}
    at = {"type": "hvac", "timestamp": "2024-07-10T15:00:00Z"}
    [mean] = api.get("/loads/history", **window, aggregate="mean")["points"]
    assert mean == {**at, "usedPowerKw": 4.0, "shedPowerKw": 0.0}
    [energy] = api.get("/loads/history", **window, aggregate="energy")["points"]
    assert energy == {**at, "usedEnergyKwh": 0.667, "shedEnergyKwh": 0.0}
    [total] = api.get("/loads/history", **window, aggregate="sum")["points"]
    assert total == {**at, "usedPowerKw": 8.0, "shedPowerKw": 0.0}


@pytest.fixture
def api(engine: Engine, store: Store) -> Api:
    """Three VENs, of which one has a comma in its id and one the word of a route."""
    loads = [{"id": "l1", "type": "hvac", "currentPowerKw": 1.0}]
    for minute in (0, 5):
        at = THREE + timedelta(minutes=minute)
        vens = (telemetry(ven_id, at, 2.0, loads=loads) for ven_id in ("a", "b,c", "history"))
        store.write(batch_of(*vens))
    catch_up(engine)
    return Api(testing.TestClient(create_app(engine, lambda: NOW, [], AppOptions(max_points=7))))


def vens_in(answer: Any) -> list[str]:
    return list(dict.fromkeys(point["venId"] for point in answer["points"]))


def test_vens_are_named_by_comma_or_one_by_one(api: Api) -> None:
    assert vens_in(api.get("/vens/history", ids="history,a")) == ["a", "history"]
    assert vens_in(api.get("/vens/history", ids=["b,c", "a"])) == ["a", "b,c"]
    assert vens_in(api.get("/vens/history", ids=["b,c", "b,c"])) == ["b,c"]
    assert api.get("/vens/history", ids=",".join(["a"] * 2_000)) == api.get("/vens/history", ids="a")
    for given_all in ("?all", "?all=true", "?all=1", ""):
        answer = api.client.simulate_get(f"/api/vens/history{given_all}")
        assert vens_in(answer.json) == ["a", "b,c", "history"]


@pytest.mark.parametrize(
    ("parameters", "status", "detail"),
    [
        ({"ids": ["a", "b", "c"]}, 404, "'b'"),
        ({"ids": ","}, 400, "ids must be"),
        ({"ids": "a", "group": "g"}, 400, "ids must not be given together with group"),
        ({"all": "1", "group": "g"}, 400, "group must not be given together with all"),
        ({"all": "no"}, 400, "all must be"),
        ({"group": "nobody"}, 404, "'nobody'"),
        ({"group": "nobody", "by": "group"}, 404, "'nobody'"),
        ({"ids": "a", "by": "group"}, 400, "by must be ven with ids"),
        ({"by": "type"}, 400, "by must be ven or group"),
        ({"venIds": "a"}, 400, "did you mean ids?"),
        ({"granularity": "7m", "aggregate": "mean"}, 400, "granularity"),
        ({"start": "2024-07-11", "end": "2024-07-10"}, 400, "start"),
    ],
)
def test_vens_that_cannot_be_meant_are_refused(
    parameters: dict[str, Any], status: int, detail: str, api: Api
) -> None:
    assert detail in api.get("/vens/history", status, **parameters)["detail"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("parameters", "status", "detail"),
    [
        ({"type": "ev"}, 404, "'ev'; the types are hvac"),
        ({"type": "ev", "by": "type"}, 404, "'ev'"),
        ({"by": "ven"}, 400, "by must be load or type"),
        ({"types": "hvac"}, 400, "did you mean type?"),
    ],
)
def test_types_that_do_not_exist_are_refused(
    parameters: dict[str, Any], status: int, detail: str, api: Api
) -> None:
    assert detail in api.get("/loads/history", status, **parameters)["detail"]


def test_an_answer_that_is_too_long_is_refused_with_a_way_out(api: Api, engine: Engine) -> None:
    """Three VENs have two samples each, five minutes apart."""
    assert len(api.get("/vens/history", granularity="1s")["points"]) == 6  # few samples are few points
    short = Api(testing.TestClient(create_app(engine, lambda: NOW, [], AppOptions(max_points=5))))
    for bounds in ({}, {"start": "2024-07-10T15:00:00Z", "end": "2024-07-10T15:05:00Z"}):
        refused = short.get("/vens/history", 400, **bounds)["detail"]
        assert refused.startswith("granularity must be 10m or coarser, or the range must be shorter")
        assert "3 histories from 2024-07-10T15:00:00Z" in refused
        assert "up to 6 points, and an answer has at most 5" in refused
        assert len(short.get("/vens/history", ids="a,history", **bounds)["points"]) == 4
        assert len(short.get("/vens/history", granularity="10m", **bounds)["points"]) == 3


@pytest.mark.usefixtures("api")
def test_more_histories_than_points_are_refused(engine: Engine) -> None:
    few = Api(testing.TestClient(create_app(engine, lambda: NOW, [], AppOptions(max_points=2))))
    for granularity in ("5m", "1mo", "100h"):
        refused = few.get("/vens/history", 400, granularity=granularity)
        assert refused["detail"].startswith("the range must be shorter, or the histories fewer (name VENs")
    assert len(few.get("/loads/history", by="type")["points"]) == 2
    assert len(few.get("/vens/history", ids="a")["points"]) == 2


def test_ids_that_are_words_of_routes_have_routes(api: Api) -> None:
    assert [point["timestamp"] for point in api.get("/vens/history/history")["points"]] == [
        "2024-07-10T15:00:00Z",
        "2024-07-10T15:05:00Z",
    ]
    assert vens_in(api.get("/vens/history", ids="history")) == ["history"]
    assert [load["id"] for load in api.get("/vens/history/loads")] == ["l1"]
    assert api.get("/vens/%68istory")["id"] == "history"
    assert api.patch("/vens/%68istory", name="renamed")["name"] == "renamed"
    api.delete("/vens/histor%79")
    assert vens_in(api.get("/vens/history")) == ["a", "b,c"]
    place = {"lat": 1, "lon": 2}
    assert (
        "id must not be 'history'" in api.post("/vens", 400, id="history", name="n", location=place)["detail"]
    )


@pytest.mark.thorough
@pytest.mark.parametrize("aggregate", ["sum", "energy", "mean"])
@pytest.mark.parametrize(
    "path", ["/vens/history", "/vens/history?by=group", "/loads/history", "/loads/history?by=type"]
)
def test_all_formats_have_the_same_rows(api: Api, path: str, aggregate: str) -> None:
    api.post("/groups", id="g", name="n", venIds=["a"])
    path += f"{'&' if '?' in path else '?'}aggregate={aggregate}"
    points = api.client.simulate_get(f"/api{path}").json["points"]
    assert points
    readers: dict[str, Callable[[bytes], pl.DataFrame]] = {
        "arrow": lambda body: pl.read_ipc_stream(io.BytesIO(body)),
        "parquet": lambda body: pl.read_parquet(io.BytesIO(body)),
        "csv": lambda body: pl.read_csv(io.BytesIO(body), try_parse_dates=True),
    }
    for name, read in readers.items():
        frame = read(api.client.simulate_get(f"/api{path}&format={name}").content)
        rows = [{key: value for key, value in row.items() if value is not None} for row in frame.to_dicts()]
        for row in rows:
            row["timestamp"] = f"{row['timestamp']:%FT%TZ}"
        assert rows == points
