"""Events that aim at groups and at types of load: whom they ask, and how, and who comes and goes."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from serving.app import create_app
from tests.integration.test_events import START, Grid, minute

NOTHING: dict[str, list[str]] = {"groups": [], "loadTypes": [], "venIds": []}


class Town(Grid):
    """VENs of two regions; loads are `ev`, `hvac` or of no type."""

    def house(self, ven_id: str, region: str, **loads_kw: float) -> None:
        """Loads by type; a load has its type as id."""
        self.ven(ven_id)
        self.db.execute("UPDATE vens SET region = %s WHERE ven_id = %s", [region, ven_id])
        for load_type, kw in loads_kw.items():
            self.db.execute(
                "INSERT INTO load_snapshots (ven_id, load_id, load_type, ts, shed_capability_kw)"
                " VALUES (%s, %s, %s, now(), %s)",
                [ven_id, load_type, load_type, kw],
            )

    def group(self, group_id: str, **given: Any) -> None:
        body = {"id": group_id, "name": group_id, **given}
        response = self.client.simulate_post("/api/groups", json=body)
        assert response.status_code == 201, response.text

    def change_group(self, group_id: str, **changes: Any) -> None:
        response = self.client.simulate_patch(f"/api/groups/{group_id}", json=changes)
        assert response.status_code == 200, response.text

    def refused(self, status: int, event_id: str | None = None, /, **changes: Any) -> str:
        """A POST, or a PATCH of an event, that is refused; returns why."""
        wish = {"startTime": minute(0), "endTime": minute(60), "requestedReductionKw": 6}
        if event_id is None:
            response = self.client.simulate_post("/api/events", json=wish | changes)
        else:
            response = self.client.simulate_patch(f"/api/events/{event_id}", json=changes)
        assert response.status_code == status, response.text
        return str(response.json["detail"])

    def shed_commands(self, ven_id: str) -> dict[str, tuple[float, str]]:
        """The newest command to each load: what it asks for, and its status."""
        found = self.db.execute(
            "SELECT load_id, (data->>'reduceKw')::float8, status FROM commands"
            " WHERE ven_id = %s AND op = 'shedLoad' ORDER BY created_at, load_id",
            [ven_id],
        )
        return {load_id: (round(kw, 6), status) for load_id, kw, status in found}

    def ops(self, ven_id: str) -> list[str]:
        return [op for op, *_ in self.sent(ven_id)]


@pytest.fixture
def town(engine: Engine, connection: psycopg.Connection) -> Town:
    made = Town(engine, connection)
    made.client.app = create_app(engine, lambda: made.now, [])
    made.house("n1", "north", ev=3, hvac=1)
    made.house("n2", "north", hvac=2)
    made.house("s1", "south", ev=6)
    made.house("s2", "south", ev=0, hvac=4)
    made.group("north", regions=["north"])
    made.group("south", regions=["south"])
    return made


# Groups


def test_an_event_asks_the_members_of_its_groups_and_the_vens_that_it_names(town: Town) -> None:
    made = town.event(kw=6, targets={"groups": ["north"]}, venIds=["s2"])
    assert made["targets"] == {"groups": ["north"], "loadTypes": [], "venIds": ["s2"]}
    assert (made["venIds"], made["notes"]) == (["s2"], [])
    town.look()
    assert {ven_id: kw for ven_id, (_, kw) in town.parts().items()} == {"n1": 2.4, "n2": 1.2, "s2": 2.4}
    assert town.sent("s1") == []


def test_who_is_no_target_is_in_no_note(town: Town) -> None:
    town.presence("n2", "offline")
    town.presence("s1", "offline")
    made = town.event(targets={"groups": ["north"]})
    assert made["notes"] == [{"reason": "offline", "vens": 1}]
    preview = town.preview(6, targets={"loadTypes": ["ev"]}, startTime=minute(90), endTime=minute(100))
    assert preview["targets"] == {**NOTHING, "loadTypes": ["ev"]}
    assert preview["passedOver"] == [
        {"venId": "s1", "reason": "offline"},
        {"venId": "s2", "reason": "no flexibility"},
    ]
    assert [(ven["venId"], ven["availableKw"]) for ven in preview["vens"]] == [("n1", 3)]


def test_a_group_without_members_is_not_everybody(town: Town) -> None:
    town.group("nobody")
    town.event(targets={"groups": ["nobody"]})
    town.at(0)
    assert (town.status(), town.parts()) == ("active", {})
    town.change_group("nobody", venIds=["s1"])
    town.at(1)
    assert town.parts() == {"s1": ("notified", 6)}


def test_membership_is_followed_while_an_event_runs(town: Town) -> None:
    town.event(kw=2, targets={"groups": ["north"]})
    town.at(0)
    assert town.parts().keys() == {"n1", "n2"}
    town.change_group("north", regions=["north", "south"])
    town.db.execute("UPDATE vens SET region = 'west' WHERE ven_id = 'n1'")
    town.at(1)
    town.at(2)
    assert town.parts()["n1"] == ("planned", 0)
    assert town.ops("n1") == ["event", "restore"]
    assert {ven_id for ven_id, (_, kw) in town.parts().items() if kw > 0} == {"n2", "s1", "s2"}
    assert sum(kw for _, kw in town.parts().values()) == pytest.approx(2, rel=0.05)
    before = town.everything()
    town.at(3)
    assert town.everything() == before


def test_groups_at_the_same_time(town: Town) -> None:
    """Groups without a common member do not stand in each other's way; those with one do."""
    town.event("one", targets={"groups": ["north"]})
    town.event("other", targets={"groups": ["south"]})
    town.group("cars", loadTypes=["ev"])
    assert "'one'" in town.refused(409, targets={"groups": ["cars"]})
    assert "'other'" in town.refused(409, venIds=["s1"])
    assert "'one'" in town.refused(409, targets={"loadTypes": ["hvac"]})
    assert "'one'" in town.refused(409, "other", targets={"groups": ["south", "north"]})
    town.event("urgent", targets={"groups": ["cars"]}, priority=1)


def test_a_group_at_which_an_event_aims_stays(town: Town) -> None:
    town.event(targets={"groups": ["north"]})
    refused = town.client.simulate_delete("/api/groups/north")
    assert (refused.status_code, "'e'" in refused.json["detail"]) == (409, True)
    town.client.simulate_delete("/api/events/e")
    assert town.client.simulate_delete("/api/groups/north").status_code == 204
    assert town.client.simulate_get("/api/events/e").json["targets"]["groups"] == ["north"]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"targets": {"groups": ["nobody", "x"]}}, "targets.groups names 'nobody', and 1 more"),
        ({"targets": {"venIds": ["nobody"]}}, "venIds names 'nobody'"),
        ({"targets": NOTHING}, "targets must name"),
        ({"targets": {}}, "targets must name"),
        ({"targets": {"venIds": ["n1"]}, "venIds": ["n2"]}, "targets.venIds differ"),
        ({"targets": {"loadTypes": ["ev"]}, "leadTimeS": 60}, "leadTimeS must be 0"),
        ({"targets": {"loadTypes": [""]}}, "loadTypes"),
        ({"targets": {"group": ["north"]}}, "group"),
        ({"targets": ["north"]}, "targets"),
    ],
)
def test_what_cannot_be_aimed_at_is_refused_by_name(given: dict[str, Any], named: str, town: Town) -> None:
    assert named in town.refused(400, **given)


def test_targets_are_changed_before_and_while_an_event_runs(town: Town) -> None:
    shown = town.event(kw=2, targets={"groups": ["north"], "venIds": ["s1"]})
    town.change(targets=shown["targets"], venIds=shown["venIds"])
    assert town.client.simulate_get("/api/events/e").json["targets"] == shown["targets"]
    town.change(targets={"venIds": None})
    town.at(0)
    assert town.parts().keys() == {"n1", "n2"}
    assert "null asks everybody" in town.refused(400, "e", targets={"groups": []})
    assert "differ" in town.refused(400, "e", targets={"venIds": ["n1"]}, venIds=["n2"])
    town.change(targets={"groups": ["south"]})
    town.at(1)
    town.at(2)
    assert {ven_id for ven_id, (_, kw) in town.parts().items() if kw} == {"s1", "s2"}
    assert town.ops("n1") == ["event", "restore"]
    town.change(targets=None)
    assert town.client.simulate_get("/api/events/e").json["targets"] == NOTHING
    town.at(3)
    assert {status for status, _ in town.parts().values()} == {"notified"}
    assert town.parts().keys() == {"n1", "n2", "s1", "s2"}


def test_streams_tell_targets(town: Town) -> None:
    """Also a change of nothing but them."""
    town.event(targets={"groups": ["north"]})
    town.db.execute("DELETE FROM live_changes")
    town.change(targets={"groups": ["north", "south"]})
    told = town.db.execute("SELECT data->'group_ids', data->'load_types', data->'ven_ids' FROM live_changes")
    assert told.fetchall()[-1] == (["north", "south"], None, None)
    before = town.db.execute("SELECT count(*) FROM live_changes").fetchone()
    for changed in ("group_ids = NULL", "load_types = '[\"ev\"]'"):
        town.db.execute(f"UPDATE events SET {changed}".encode())
    assert town.db.execute("SELECT count(*) - 2 FROM live_changes").fetchone() == before


# Types of load


def test_only_loads_of_the_types_count_and_are_asked(town: Town) -> None:
    town.house("n3", "north", ev=1, pool=2)
    town.db.execute("UPDATE load_snapshots SET enabled = false WHERE ven_id = 'n3' AND load_id = 'pool'")
    made = town.event(kw=6, targets={"groups": ["north"], "loadTypes": ["ev", "pool"]}, leadTimeS=None)
    assert (made["targets"]["loadTypes"], made["leadTimeS"]) == (["ev", "pool"], 0)
    town.at(-0.01)
    assert town.parts() == {}, "a load sheds as soon as it is told"
    town.at(0)
    assert town.parts() == {"n1": ("notified", 3), "n3": ("notified", 1)}
    assert town.shed_commands("n1") == {"ev": (3, "pending")}
    assert town.shed_commands("n3") == {"ev": (1, "pending")}
    [(data, event_id, expires_at)] = town.db.execute(
        "SELECT data, event_id, expires_at FROM commands WHERE ven_id = 'n1'"
    ).fetchall()
    assert data == {"loadId": "ev", "reduceKw": 3, "durationS": 3600, "eventId": "e"}
    assert (event_id, expires_at) == ("e", START + timedelta(hours=1))
    town.at(60)
    assert town.ops("n1") == ["shedLoad", "restore"]
    assert {status for status, _ in town.parts().values()} == {"finished"}


def test_each_load_of_a_ven_gives_the_same_part(town: Town) -> None:
    town.event(kw=5, targets={"loadTypes": ["ev", "hvac"], "venIds": ["n1", "s1"]}, leadTimeS=0)
    town.at(0)
    assert town.parts() == {"n1": ("notified", 2), "s1": ("notified", 3)}
    assert town.shed_commands("n1") == {"ev": (1.5, "pending"), "hvac": (0.5, "pending")}
    town.change(requestedReductionKw=2.5)
    town.at(10)
    assert town.shed_commands("n1") == {"ev": (0.75, "pending"), "hvac": (0.25, "pending")}
    old = (
        "SELECT load_id, status FROM commands WHERE ven_id = 'n1' AND data->>'durationS' = '3600' ORDER BY 1"
    )
    assert town.db.execute(old.encode()).fetchall() == [
        ("ev", "expired"),
        ("hvac", "expired"),
    ]


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("ev", "hvac", "status"),
    [
        ("acknowledged", "acknowledged", "acknowledged"),
        ("acknowledged", "rejected", "acknowledged"),
        ("rejected", "acknowledged", "acknowledged"),
        ("rejected", "rejected", "opted_out"),
        ("rejected", "sent", "notified"),
        ("failed", "acknowledged", "acknowledged"),
    ],
)
def test_a_ven_opts_out_only_with_all_its_loads(ev: str, hvac: str, status: str, town: Town) -> None:
    town.event(kw=2, targets={"loadTypes": ["ev", "hvac"], "venIds": ["n1"]}, leadTimeS=0)
    town.at(0)
    for load_id, answer in (("ev", ev), ("hvac", hvac)):
        answered_at = None if answer in {"sent", "failed"} else town.now
        town.db.execute(
            "UPDATE commands SET status = %s, acknowledged_at = %s WHERE load_id = %s",
            [answer, answered_at, load_id],
        )
    town.at(1)
    assert town.parts()["n1"][0] == status


def test_a_ven_that_names_the_event_no_more_is_asked_again_for_its_loads(town: Town) -> None:
    town.event(kw=2, targets={"loadTypes": ["ev", "hvac"], "venIds": ["n1"]}, leadTimeS=0)
    town.at(0)
    town.answer("n1", "acknowledged")
    town.report("n1", 1, "e", 2)
    town.at(1)
    assert town.parts()["n1"] == ("started", 2)
    town.report("n1", 2)
    town.at(2)
    assert town.ops("n1") == ["shedLoad"] * 4
    town.answer("n1", "acknowledged")
    town.report("n1", 3, None, 2)
    town.at(5)
    assert town.parts()["n1"] == ("started", 2)


def test_types_of_load_change_while_an_event_runs(town: Town) -> None:
    """A VEN with a command for other loads is restored, and gets a new command."""
    town.event(kw=2, targets={"groups": ["north"]}, leadTimeS=0)
    town.at(0)
    town.answer("n1", "acknowledged")
    town.change(targets={"loadTypes": ["ev"]})
    town.at(1)
    town.at(2)
    assert town.ops("n1") == ["event", "restore", "shedLoad"]
    assert town.ops("n2") == ["event", "restore"]
    assert town.parts() == {"n1": ("notified", 2), "n2": ("planned", 0)}
    before = town.everything()
    town.at(3)
    assert town.everything() == before
    town.change(targets={"loadTypes": None})
    town.at(4)
    town.at(5)
    assert town.ops("n1") == ["event", "restore", "shedLoad", "restore", "event"]
    assert town.parts() == {
        "n1": ("notified", 1.333333),
        "n2": ("notified", 0.666667),
    }


def test_types_of_load_are_fixed_between_telling_and_start(town: Town) -> None:
    town.event(leadTimeS=300)
    town.look()
    assert "ahead of its start" in town.refused(409, "e", targets={"loadTypes": ["ev"]})
    town.event("later", 90, 100, leadTimeS=60)
    assert "leadTimeS" in town.refused(400, "later", targets={"loadTypes": ["ev"]})
    town.change("later", targets={"loadTypes": ["ev"]}, leadTimeS=0)


def test_a_load_that_leaves_takes_its_ven_along(town: Town) -> None:
    town.event(kw=9, targets={"loadTypes": ["ev"]}, leadTimeS=0)
    town.at(0)
    assert town.parts() == {"n1": ("notified", 3), "s1": ("notified", 6)}
    town.db.execute("UPDATE load_snapshots SET load_type = 'heater' WHERE ven_id = 's1'")
    town.at(1)
    assert town.parts()["s1"] == ("planned", 0)
    assert town.ops("s1") == ["shedLoad", "restore"]


@pytest.mark.parametrize("by", ["people", "reports"])
def test_a_load_that_changes_its_type_is_let_go_and_its_ven_told_anew(by: str, town: Town) -> None:
    """Its VEN has another load of the types. It would have shed until the end."""
    town.house("n3", "north", ev=2)
    town.db.execute(
        "INSERT INTO load_snapshots (ven_id, load_id, load_type, ts, shed_capability_kw)"
        " VALUES ('n3', 'second', 'ev', now(), 2)"
    )
    town.event(kw=4, targets={"loadTypes": ["ev"], "venIds": ["n3"]}, leadTimeS=0)
    town.at(0)
    town.answer("n3", "acknowledged")
    assert town.shed_commands("n3").keys() == {"ev", "second"}
    if by == "people":
        response = town.client.simulate_patch("/api/vens/n3/loads/second", json={"type": "heater"})
        assert response.status_code == 200, response.text
    else:
        town.db.execute("UPDATE load_snapshots SET load_type = 'heater' WHERE load_id = 'second'")
    town.at(1)
    town.at(2)
    assert town.ops("n3") == ["shedLoad", "shedLoad", "restore", "shedLoad"]
    assert town.shed_commands("n3")["ev"] == (2, "pending")
    assert town.parts()["n3"] == ("notified", 2)
    before = town.everything()
    town.at(3)
    assert town.everything() == before
