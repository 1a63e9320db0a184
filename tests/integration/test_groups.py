"""Groups of VENs: members; lists, statistics and histories of the members."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st

from ingest.storing.store import Store
from jobs.storage.retention import drop_raw_days
from serving.app import create_app
from tests.examples import costly
from tests.integration.catching_up import catch_up
from tests.integration.published import NOW, THREE, batch_of, telemetry
from tests.integration.whole_system import WholeSystem
from tests.oracle.compare import assert_same
from tests.oracle.messages import random_traffic

HOUR = timedelta(hours=1)


class Api:
    """The API, whose answers are JSON and whose status is checked."""

    def __init__(self, client: testing.TestClient) -> None:
        self.client = client

    def get(self, path: str, expected: int = 200, /, **params: Any) -> Any:
        return self._answer(self.client.simulate_get(f"/api{path}", params=params), expected)

    def post(self, path: str, expected: int = 201, /, **body: Any) -> Any:
        return self._answer(self.client.simulate_post(f"/api{path}", json=body), expected)

    def patch(self, path: str, expected: int = 200, /, **body: Any) -> Any:
        return self._answer(self.client.simulate_patch(f"/api{path}", json=body), expected)

    def delete(self, path: str, expected: int = 204) -> Any:
        return self._answer(self.client.simulate_delete(f"/api{path}"), expected)

    def _answer(self, response: testing.Result, expected: int) -> Any:
        assert response.status_code == expected, response.text
        return response.json if response.content else None

    def members(self, group_id: str) -> list[str]:
        """As all routes tell them alike."""
        found = [ven["id"] for ven in self.get(f"/groups/{group_id}/vens")]
        assert [ven["id"] for ven in self.get("/vens", group=group_id)] == found
        assert [ven["id"] for ven in self.get("/vens/summary", group=group_id)] == found
        assert self.get("/stats/network", group=group_id)["venCount"] == len(found)
        return found


@pytest.fixture
def api(engine: Any, store: Store) -> Api:
    """Four VENs; those of the south have no loads."""
    loads = [{"id": "l1", "type": "hvac", "currentPowerKw": 1.0, "shedCapabilityKw": 0.5}, {"id": "l2"}]
    store.write(
        batch_of(
            telemetry("a", THREE, 2.0, loads=loads),
            telemetry("b", THREE, 3.0, loads=[{"id": "l1", "type": "ev", "shedCapabilityKw": 4.0}]),
            telemetry("c", THREE, 5.0, shedPowerKw=0.25),
            telemetry("d", THREE, -1.0),
        )
    )
    catch_up(engine)
    made = Api(testing.TestClient(create_app(engine, lambda: NOW, [])))
    for ven_id, region, tags in (
        ("a", "north", ["pilot", "pv"]),
        ("b", "north", ["pv"]),
        ("c", "south", ["pv"]),
    ):
        made.patch(f"/vens/{ven_id}", region=region, tags=tags)
    return made


def test_a_group_is_made_read_changed_and_deleted(api: Api) -> None:
    made = api.post("/groups", id="g", name="Farms", venIds=["b", "a", "b"], tags=["y", "x"])
    assert made == {
        "id": "g",
        "name": "Farms",
        "venIds": ["a", "b"],
        "loadTypes": [],
        "regions": [],
        "tags": ["x", "y"],
        "createdAt": made["createdAt"],
    }
    assert api.get("/groups/g") == made
    assert api.patch("/groups/g", **made) == made
    changed = api.patch("/groups/g", venIds=["c"], tags=None, name=None, regions=["south"])
    assert changed == {**made, "name": "g", "venIds": ["c"], "tags": [], "regions": ["south"]}
    other = api.post("/groups", name="made up")
    assert [each["id"] for each in api.get("/groups")] == ["g", other["id"]]
    assert [each["id"] for each in api.get("/groups", limit=1, after="g")] == [other["id"]]
    api.delete("/groups/g")
    api.get("/groups/g", 404)
    api.delete("/groups/g", 404)
    api.patch("/groups/g", 404, name="n")


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("body", "status", "named"),
    [
        ({}, 400, "name"),
        ({"name": "n", "id": "a/b"}, 400, "id"),
        ({"name": "n", "id": ".."}, 400, "id"),
        ({"name": "n", "venIds": ["a", "nobody", "no"]}, 400, "venIds names 'no', and 1 more"),
        ({"name": "n", "regions": [""]}, 400, "regions"),
        ({"name": "n", "vens": ["a"]}, 400, "venIds"),
        ({"name": "n", "id": "there"}, 409, "'there'"),
    ],
)
def test_what_cannot_be_a_group_is_refused_by_name(
    body: dict[str, Any], status: int, named: str, api: Api
) -> None:
    api.post("/groups", id="there", name="n")
    assert named in api.post("/groups", status, **body)["detail"]


def test_a_group_with_a_retired_ven_can_still_be_changed(api: Api) -> None:
    api.post("/groups", id="g", name="n", venIds=["a", "b"])
    api.delete("/vens/a")
    assert api.members("g") == ["b"]
    assert api.patch("/groups/g", venIds=["a", "b", "c"])["venIds"] == ["a", "b", "c"]
    assert "'nobody'" in api.patch("/groups/g", 400, venIds=["a", "nobody"])["detail"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({}, ""),
        ({"venIds": ["d"]}, "d"),
        ({"regions": ["north"]}, "ab"),
        ({"regions": ["north", "south"]}, "abc"),
        ({"tags": ["pv"]}, "abc"),
        ({"tags": ["pv", "pilot"]}, "a"),
        ({"regions": ["south"], "tags": ["pilot"]}, ""),
        ({"loadTypes": ["ev"]}, "b"),
        ({"loadTypes": ["ev", "hvac", "none"]}, "ab"),
        ({"loadTypes": ["unknown"]}, "a"),
        ({"loadTypes": ["ev"], "regions": ["south"]}, ""),
        ({"loadTypes": ["ev"], "regions": ["north"], "venIds": ["d", "b"]}, "bd"),
        ({"regions": ["elsewhere"], "venIds": ["c"]}, "c"),
    ],
)
def test_who_is_a_member(given: dict[str, list[str]], found: str, api: Api) -> None:
    """Members are named, or match all given attributes."""
    api.post("/groups", id="g", name="n", **given)
    assert api.members("g") == list(found)


def test_membership_follows_what_vens_are(api: Api) -> None:
    api.post("/groups", id="g", name="n", regions=["north"], loadTypes=["hvac"])
    assert api.members("g") == ["a"]
    api.patch("/vens/b/loads/l1", type="hvac")
    assert api.members("g") == ["a", "b"]
    api.patch("/vens/a", region="")
    assert api.members("g") == ["b"]
    api.delete("/vens/b/loads/l1")
    assert api.members("g") == []


def test_a_ven_shows_its_region_and_tags(api: Api) -> None:
    found = api.get("/vens/a")
    assert (found["region"], found["tags"]) == ("north", ["pilot", "pv"])
    assert api.patch("/vens/a", **{name: found[name] for name in ("region", "tags")}) == found
    cleared = api.patch("/vens/a", region=None, tags=None)
    assert (cleared["region"], cleared["tags"]) == ("", [])
    place = {"lat": 1, "lon": 2}
    made = api.post("/vens", id="new", name="n", location=place, region="north", tags=["z", "y", "z"])
    assert (made["region"], made["tags"]) == ("north", ["y", "z"])
    assert "tags" in api.patch("/vens/a", 400, tags="pv")["detail"]


def test_lists_of_a_group_come_in_pages_and_as_columns(api: Api) -> None:
    api.post("/groups", id="g h", name="n", tags=["pv"])
    first = api.client.simulate_get("/api/vens", params={"group": "g h", "limit": 2})
    following = '</api/vens?limit=2&after=b&group=g%20h>; rel="next"'
    assert ([ven["id"] for ven in first.json], first.headers["link"]) == (["a", "b"], following)
    assert [ven["id"] for ven in api.get("/vens", group="g h", limit=2, after="b")] == ["c"]
    csv = api.client.simulate_get("/api/vens/summary", params={"group": "g h", "format": "csv"})
    assert [line.split(",")[0] for line in csv.text.splitlines()] == ["id", "a", "b", "c"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    "path", ["/vens", "/vens/summary", "/stats/network", "/stats/loads", "/stats/network/history"]
)
def test_an_unknown_group_is_a_404(path: str, api: Api) -> None:
    assert "'nobody'" in api.get(path, 404, group="nobody")["detail"]
    api.get(path, 400, group="")
    assert "group" in api.get(path, 400, groop="g")["detail"]


def test_statistics_of_a_group(api: Api) -> None:
    api.post("/groups", id="g", name="n", venIds=["a", "c"])
    api.patch("/vens/a", status="offline")
    api.patch("/vens/c", status="online")
    assert api.get("/stats/network", group="g") == {
        "venCount": 2,
        "controllablePowerKw": 0.25,
        "potentialLoadReductionKw": 0.75,
        "householdUsageKw": 7.0,
        "onlineVens": 1,
        "currentLoadReductionKw": 0.25,
        "averageHousePower": 3.5,
        "totalHousePowerToday": 0.583,
        "networkEfficiency": None,
    }
    hvac, unknown = api.get("/stats/loads", group="g")
    assert hvac == {
        "type": "hvac",
        "totalCapacityKw": 1.5,
        "totalShedCapabilityKw": 0.5,
        "currentUsageKw": 1.0,
    }
    assert unknown["type"] == "unknown"
    api.post("/groups", id="empty", name="n")
    nothing = api.get("/stats/network", group="empty")
    assert (nothing["venCount"], nothing["averageHousePower"]) == (0, None)
    assert nothing["totalHousePowerToday"] is None
    assert api.get("/stats/loads", group="empty") == []
    assert api.get("/stats/network/history", group="empty") == {"points": []}


# The parts and the whole


@pytest.fixture(params=["consumed", "pending", "raw rows gone"])
def fleet(request: pytest.FixtureRequest, system: WholeSystem) -> WholeSystem:
    """Random traffic, some of it pending; some VENs have wide slots, and one is retired."""
    traffic = random_traffic(5, 1_200, shuffled=True)
    system.ingest(traffic[:900])
    system.catch_up()
    system.ingest(traffic[900:])
    ven_ids = sorted(system.oracle.known_vens())
    for ven_id in ven_ids[::3]:
        changed = system.client.simulate_patch(
            f"/api/vens/{ven_id}", json={"slotMinutes": 30, "slotMinutesSince": "2024-07-01T00:00:00Z"}
        )
        assert changed.status_code == 200
    if request.param != "pending":
        system.catch_up()
    if request.param == "raw rows gone":
        with system.engine.begin() as connection:
            drop_raw_days(connection, NOW, {0: timedelta(days=2)})
    assert system.client.simulate_delete(f"/api/vens/{ven_ids[-1]}").status_code == 204
    system.catch_up()
    make_group(system, "all", ven_ids[:-1])
    with system.engine.begin() as connection:  # it was named before it was retired
        connection.exec_driver_sql(
            "UPDATE groups SET ven_ids = (SELECT array_agg(ven_id ORDER BY ven_id) FROM vens)"
        )
    return system


def make_group(system: WholeSystem, group_id: str, ven_ids: Sequence[str]) -> None:
    body = {"id": group_id, "name": "n", "venIds": list(ven_ids)}
    response = system.client.simulate_post("/api/groups", json=body)
    if response.status_code == 409:
        response = system.client.simulate_patch(f"/api/groups/{group_id}", json=body)
    assert response.status_code in {200, 201}, response.text


@st.composite
def windows(draw: st.DrawFn) -> dict[str, str]:
    start = datetime(2024, 7, 8, tzinfo=UTC) + timedelta(seconds=draw(st.integers(0, 2 * 86_400)))
    aggregate = draw(st.sampled_from(("sum", "energy", "mean")))
    granularities = (
        ("5m", "15m", "1h", "1d") if aggregate != "sum" else ("7s", "1m", "5m", "13m", "1h", "1mo")
    )
    asked = {"granularity": draw(st.sampled_from(granularities)), "aggregate": aggregate}
    if draw(st.booleans()):
        asked["start"] = start.isoformat()
    if draw(st.booleans()):
        asked["end"] = (start + draw(st.sampled_from((HOUR, HOUR * 7.3, HOUR * 40)))).isoformat()
    return asked


@pytest.mark.thorough
def test_a_group_of_all_vens_is_the_network(fleet: WholeSystem) -> None:
    assert_same(fleet.get("/stats/network", group="all"), fleet.get("/stats/network"))
    assert_same(fleet.get("/stats/loads", group="all"), fleet.get("/stats/loads"))
    assert fleet.get("/vens", group="all") == fleet.get("/vens")
    assert fleet.get("/vens/summary", group="all") == fleet.get("/vens/summary")
    warned = 0

    @costly(2)
    @given(windows())
    def agree(window: dict[str, str]) -> None:
        nonlocal warned
        of_group, of_network = (
            fleet.get("/stats/network/history", **window, **group) for group in ({"group": "all"}, {})
        )
        if "warning" in of_group:  # finer buckets than five minutes are kept of the network alone
            warned += 1
            return
        assert_same(of_group, of_network)

    agree()


@pytest.mark.thorough
def test_disjoint_groups_sum_to_their_union(fleet: WholeSystem) -> None:
    ven_ids = sorted(ven["id"] for ven in fleet.get("/vens"))

    @costly(3)
    @given(windows(), st.lists(st.sampled_from("xy-"), min_size=len(ven_ids), max_size=len(ven_ids)))
    def add_up(window: dict[str, str], group_of: list[str]) -> None:
        parts = [
            [ven_id for ven_id, group in zip(ven_ids, group_of, strict=True) if group == part]
            for part in "xy"
        ]
        for name, members in zip(("x", "y", "xy"), [*parts, [*parts[0], *parts[1]]], strict=True):
            make_group(fleet, name, members)
        if window["aggregate"] == "mean":  # means do not add
            window = window | {"aggregate": "energy"}
        x, y, union = (
            {
                point.pop("timestamp"): point
                for point in fleet.get("/stats/network/history", **window, group=name)["points"]
            }
            for name in ("x", "y", "xy")
        )
        assert union.keys() == x.keys() | y.keys()
        for at, point in union.items():
            for key, value in point.items():
                added = x.get(at, {}).get(key, 0) + y.get(at, {}).get(key, 0)
                assert added == pytest.approx(value, abs=0.0025)
        counts = [fleet.get("/stats/network", group=name)["venCount"] for name in ("x", "y", "xy")]
        assert counts[0] + counts[1] == counts[2]

    add_up()
