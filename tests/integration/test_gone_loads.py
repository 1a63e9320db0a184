"""Loads that were renamed or removed leave the totals, by device time, and come back when they are heard."""

import random
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from ingest.storing.store import Store
from jobs.events.lifecycle import share_out
from jobs.queries.events import lifecycle as event_queries
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from jobs.summaries.models import CandidateFrame
from jobs.summaries.rebuild import rebuild, verify, whole_range
from jobs.summaries.rows import fetch
from schemas.db.channels import TOTALS
from schemas.demand_response.candidates import AskedEvent, Rest, asked_vens
from schemas.devices.load_values import GONE_AFTER, remove_load, sheddable_kw
from schemas.tables.registry import loads
from schemas.tables.snapshots import ven_snapshots
from serving.app import create_app
from serving.auth.keys import KeyStore
from serving.policy import Policy
from serving.routes import AppOptions
from tests.examples import costly
from tests.integration.published import NOW, THREE, batch_of, description, rows, telemetry, value
from tests.integration.whole_system import (
    EVERYTHING,
    WholeSystem,
    check_each,
    check_history,
    check_latest,
    check_totals,
)
from tests.oracle.messages import Published, random_traffic, traffic

HOUR = timedelta(hours=1)
LANES = [job for job in schedule(Cadence()) if job.has_backlog]
TYPES = "SELECT load_type FROM load_type_rollups ORDER BY 1"
CONTROLLABLE_KW = "SELECT controllable_power_kw FROM network_snapshot"
POTENTIAL_KW = "SELECT potential_load_reduction_kw FROM network_snapshot"


@pytest.fixture
def system(engine: Engine, database_url: str) -> Iterator[WholeSystem]:
    """Six hours: in three days of traffic many loads leave."""
    built = WholeSystem(engine, database_url, 6 * HOUR)
    built.empty()
    yield built
    built.close()


def remove(system: WholeSystem, chance: random.Random) -> None:
    """People remove a load over HTTP, whatever the lanes have consumed."""
    shown = [key for key in sorted(system.oracle.known_loads()) if system.oracle.ven_load(*key) is not None]
    if not shown:
        return
    ven_id, load_id = chance.choice(shown)
    system.oracle.remove_load(ven_id, load_id)
    path = f"/api/vens/{quote(ven_id)}/loads/{quote(load_id)}"
    assert system.client.simulate_delete(path).status_code == 204
    assert system.client.simulate_get(path).status_code == 404


@pytest.mark.thorough
def test_answers_equal_the_plain_loop(system: WholeSystem) -> None:
    chance = random.Random(4)
    messages = random_traffic(4, 600)
    position, gone = 0, 0
    while position < len(messages):
        size = chance.choice((1, 20, 100))
        system.ingest(messages[position : position + size])
        position += size
        if chance.random() < 0.4:
            remove(system, chance)
        check_each(system)  # also before a lane has consumed the messages
        system.catch_up()
        check_latest(system)
        shown = sum(len(system.oracle.ven_loads(ven_id) or []) for ven_id in system.oracle.known_vens())
        gone += len(system.oracle.known_loads()) - shown
    assert gone  # some have left


@pytest.mark.thorough
@costly(2)
@given(
    messages=traffic(max_size=40, shrink_messages=False),
    removals=st.lists(st.integers(0, 40), max_size=3),
    seed=st.integers(0, 99),
)
def test_any_traffic_and_removals(
    system: WholeSystem, messages: list[Published], removals: list[int], seed: int
) -> None:
    system.empty()
    chance = random.Random(seed)
    for number, message in enumerate(messages):
        system.ingest([message])
        if number in removals:
            remove(system, chance)
    check_each(system)
    system.catch_up()
    check_latest(system)
    check_history(system, EVERYTHING, "1h", "sum")  # nothing has left the histories


@pytest.mark.thorough
def test_a_rebuild_says_the_same(system: WholeSystem, connection: psycopg.Connection) -> None:
    system.ingest(random_traffic(9, 300, shuffled=True))
    chance = random.Random(9)
    for _ in range(3):
        remove(system, chance)
    system.catch_up()
    before = system.get("/stats/network"), system.get("/stats/loads")
    connection.execute("TRUNCATE ven_snapshots, load_snapshots, network_history, load_type_rollups")
    with system.engine.connect() as own:
        within = whole_range(own, None, None)
    assert within is not None
    assert sum(chunk.differences.height for chunk in rebuild(system.engine, within))
    assert not sum(chunk.differences.height for chunk in verify(system.engine, within))
    system.run(1)
    assert (system.get("/stats/network"), system.get("/stats/loads")) == before
    check_totals(system)


# One at a time


def said(load_id: str, load_type: str, shed_kw: float = 1.0) -> dict[str, object]:
    return {"id": load_id, "type": load_type, "shedCapabilityKw": shed_kw, "currentPowerKw": 0.0}


def refresh(store: Store, runner: Runner, *messages: object) -> None:
    store.write(batch_of(*messages))  # type: ignore[arg-type]
    runner.catch_up(LANES)


def test_a_renamed_load_leaves_after_a_day_of_its_vens_time(
    store: Store, runner: Runner, connection: psycopg.Connection
) -> None:
    """It stayed for ever, and doubled what its VEN could shed."""
    refresh(store, runner, telemetry("a", THREE, loads=[said("old", "hvac")]))
    day_later = THREE + timedelta(days=1)
    refresh(store, runner, telemetry("a", day_later, loads=[said("new", "heat_pump")]))
    assert rows(connection, TYPES) == [("heat_pump",), ("hvac",)]  # exactly at the limit it counts
    refresh(store, runner, telemetry("a", day_later + timedelta(microseconds=1)))
    assert rows(connection, TYPES) == [("heat_pump",)]
    assert (value(connection, CONTROLLABLE_KW), value(connection, POTENTIAL_KW)) == (1.0, 1.0)
    assert value(connection, "SELECT count(*) FROM load_history WHERE load_id = 'old'") == 1


def test_late_messages_on_a_load_bring_it_back_only_if_they_are_recent(
    store: Store, runner: Runner, connection: psycopg.Connection
) -> None:
    later = THREE + timedelta(days=3)
    refresh(store, runner, telemetry("a", THREE, loads=[said("l", "ev")]), telemetry("a", later))
    assert rows(connection, TYPES) == []
    refresh(store, runner, description("a", later - timedelta(days=2), said("l", "ev")))
    assert rows(connection, TYPES) == []
    refresh(store, runner, description("a", later - HOUR, said("l", "ev")))
    assert rows(connection, TYPES) == [("ev",)]


def test_a_silent_ven_loses_no_load(store: Store, engine: Engine, connection: psycopg.Connection) -> None:
    store.write(batch_of(telemetry("a", THREE, loads=[said("l", "ev")])))
    store.write(batch_of(telemetry("b", THREE + timedelta(days=300))))
    Runner(engine, lambda: NOW + timedelta(days=300)).catch_up(LANES)
    assert rows(connection, TYPES) == [("ev",)]


def test_a_ven_that_only_describes_its_loads_loses_none(
    store: Store, runner: Runner, connection: psycopg.Connection
) -> None:
    refresh(store, runner, description("a", THREE, said("l", "ev")))
    refresh(store, runner, description("a", THREE + timedelta(days=9), said("m", "hvac")))
    assert rows(connection, TYPES) == [("ev",), ("hvac",)]


def test_zero_is_never(store: Store, engine: Engine, connection: psycopg.Connection) -> None:
    store.write(batch_of(telemetry("a", THREE, loads=[said("l", "ev")])))
    store.write(batch_of(telemetry("a", THREE + timedelta(days=999))))
    never = schedule(Cadence.model_validate({"LOADS_GONE_AFTER_HOURS": 0}))
    Runner(engine, lambda: NOW).catch_up([job for job in never if job.has_backlog])
    assert rows(connection, TYPES) == [("ev",)]


def test_a_ven_whose_loads_are_all_gone_counts_as_one(
    store: Store, runner: Runner, connection: psycopg.Connection
) -> None:
    later = THREE + timedelta(days=2)
    refresh(store, runner, telemetry("a", THREE, loads=[said("l", "ev", 5.0)]))
    refresh(store, runner, telemetry("a", later, shedPowerKw=0.75))
    assert (value(connection, CONTROLLABLE_KW), value(connection, POTENTIAL_KW)) == (0.75, 0.75)


def test_a_removed_load_comes_back_with_a_later_sample(
    store: Store, engine: Engine, runner: Runner, connection: psycopg.Connection
) -> None:
    """Later by device time: what was on its way when it was removed does not bring it back."""
    refresh(store, runner, telemetry("a", THREE, loads=[said("l", "ev")]))
    with engine.begin() as own:
        own.execute(remove_load("a", "l", THREE, NOW))
    refresh(store, runner, description("a", THREE - HOUR, said("l", "ev")))
    assert rows(connection, TYPES) == []
    with engine.begin() as own:  # an older request that comes late changes nothing
        own.execute(remove_load("a", "l", THREE - HOUR, NOW))
    refresh(store, runner, telemetry("a", THREE - timedelta(seconds=1), loads=[said("l", "ev")]))
    assert rows(connection, TYPES) == []
    refresh(store, runner, telemetry("a", THREE + timedelta(seconds=1), loads=[said("l", "ev")]))
    assert rows(connection, TYPES) == [("ev",)]


def test_what_people_set_survives_a_removal(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            loads.insert().values(ven_id="a", load_id="l", name="Boiler", enabled=False, updated_at=THREE)
        )
        connection.execute(remove_load("a", "l", THREE, NOW))
        row = connection.execute(select(loads)).one()
    assert (row.name, row.enabled, row.removed_ts, row.updated_at) == ("Boiler", False, THREE, NOW)


@pytest.mark.parametrize(("gone_after", "expected_kw"), [(GONE_AFTER, 2.0), (None, 5.0)])
def test_events_ask_for_nothing_that_is_gone(
    gone_after: timedelta | None,
    expected_kw: float,
    store: Store,
    engine: Engine,
    runner: Runner,
    connection: psycopg.Connection,
) -> None:
    later = THREE + timedelta(days=2)
    entries = [said("new", "ev", 2.0), said("removed", "ev", 7.0)]
    refresh(store, runner, telemetry("a", THREE, loads=[said("old", "ev", 3.0)]))
    refresh(store, runner, telemetry("a", later, loads=entries))
    connection.execute(
        "INSERT INTO events (event_id, status, start_time, end_time, requested_reduction_kw, notify_at,"
        " created_at) VALUES ('e', 'scheduled', %s, %s, 9, %s, %s)",
        [NOW + HOUR, NOW + 2 * HOUR, NOW, NOW],
    )
    with engine.begin() as own:
        own.execute(remove_load("a", "removed", later, NOW))
        [event] = event_queries.events_to_notify(NOW).all(own)
        query = asked_vens(AskedEvent.of(event), NOW, Rest(HOUR, 9), gone_after)
        assert fetch(own, query, CandidateFrame).rows() == [("a", expected_kw, None, 1)]
        [[shed_kw]] = own.execute(
            select(
                sheddable_kw(ven_snapshots.c.ven_id, ven_snapshots.c.ts, gone_after).scalar_subquery()
            ).select_from(ven_snapshots)
        )
        assert shed_kw == expected_kw
        assert share_out(own, NOW, Rest(HOUR, 9), gone_after) == 1


# Over HTTP


def ask(app: testing.TestClient, path: str) -> Any:
    response = app.simulate_get(f"/api/vens{path}")
    return response.json if response.status_code == 200 else response.status_code


@pytest.fixture
def app(engine: Engine) -> testing.TestClient:
    return testing.TestClient(create_app(engine, lambda: NOW, []))


def test_a_removed_load_is_in_no_list_but_in_its_history(
    store: Store, runner: Runner, app: testing.TestClient, connection: psycopg.Connection
) -> None:
    refresh(store, runner, telemetry("a", THREE, loads=[said("l", "ev", 2.0), said("m", "hvac", 1.0)]))
    connection.execute(f"LISTEN {TOTALS}".encode())
    assert app.simulate_delete("/api/vens/a/loads/l").status_code == 204
    assert [each.channel for each in connection.notifies(timeout=5, stop_after=1)] == [TOTALS]
    assert [load["id"] for load in ask(app, "/a/loads")] == ["m"]
    assert [load["id"] for load in ask(app, "/a")["loads"]] == ["m"]
    assert [load["id"] for load in ask(app, "")[0]["loads"]] == ["m"]
    assert ask(app, "/a")["metrics"]["shedAvailabilityKw"] == 1.0
    assert ask(app, "/summary")[0]["controllablePower"] == 1.0
    assert ask(app, "/a/loads/l") == 404
    assert app.simulate_patch("/api/vens/a/loads/l", json={"name": "x"}).status_code == 404
    shed = app.simulate_post("/api/vens/a/loads/l/commands/shed", json={"amountKw": 1})
    assert shed.status_code == 404
    assert app.simulate_delete("/api/vens/a/loads/l").status_code == 404, "it has gone already"
    assert len(ask(app, "/a/loads/l/history")["points"]) == 1
    assert ask(app, "/a/circuits/history?load_id=l")["totalCount"] == 1
    refresh(store, runner, telemetry("a", THREE + timedelta(seconds=1), loads=[said("l", "ev", 2.0)]))
    assert ask(app, "/a/loads/l")["shedCapabilityKw"] == 2.0
    assert [load["id"] for load in ask(app, "")[0]["loads"]] == ["l", "m"]


@pytest.mark.parametrize("path", ["nobody/loads/l", "a/loads/nothing", "a/loads/%00"])
def test_what_is_not_there_cannot_be_removed(path: str, store: Store, app: testing.TestClient) -> None:
    store.write(batch_of(telemetry("a", THREE, loads=[said("l", "ev")])))
    response = app.simulate_delete(f"/api/vens/{path}")
    assert response.status_code == (400 if "%00" in path else 404)


def test_what_is_pending_when_a_load_is_removed_does_not_bring_it_back(
    store: Store, runner: Runner, app: testing.TestClient, connection: psycopg.Connection
) -> None:
    """Each kind of message that may be the VEN's newest, consumed or not."""
    refresh(store, runner, telemetry("a", THREE, loads=[said("l", "ev")]))
    store.write(batch_of(telemetry("a", THREE + HOUR, loads=[said("l", "ev")])))
    store.write(batch_of(description("a", THREE + 2 * HOUR, said("l", "ev"))))
    store.write(batch_of(telemetry("a", THREE + 3 * HOUR)))
    assert app.simulate_delete("/api/vens/a/loads/l").status_code == 204
    assert value(connection, "SELECT removed_ts FROM loads") == THREE + 3 * HOUR
    assert ask(app, "/a/loads") == []
    runner.catch_up(LANES)
    assert ask(app, "/a/loads") == []
    store.write(batch_of(description("a", THREE + 4 * HOUR, said("l", "ev"))))
    assert [load["id"] for load in ask(app, "/a/loads")] == ["l"], "before a lane has consumed it"


def test_zero_hours_hide_nothing(store: Store, runner: Runner, engine: Engine) -> None:
    refresh(store, runner, telemetry("a", THREE, loads=[said("l", "ev", 2.0)]))
    refresh(store, runner, telemetry("a", THREE + timedelta(days=999)))
    for gone_after, expected in ((None, ["l"]), (GONE_AFTER, [])):
        app = testing.TestClient(create_app(engine, lambda: NOW, [], AppOptions(loads_gone_after=gone_after)))
        assert [load["id"] for load in ask(app, "/a/loads")] == expected
        assert [load["id"] for load in ask(app, "")[0]["loads"]] == expected
        assert ask(app, "/summary")[0]["controllablePower"] == 2.0 * len(expected)


def test_a_removal_needs_the_role_operator_and_is_audited(
    store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    store.write(batch_of(telemetry("a", THREE, loads=[said("l", "ev")])))
    guarded = testing.TestClient(
        create_app(engine, lambda: NOW, [], AppOptions(policy=Policy(needs_keys=True)))
    )
    keys = KeyStore(engine)
    for role, status in (("viewer", 403), ("operator", 204)):
        secret = keys.create(role, role, None, NOW)
        headers = {"Authorization": f"Bearer {secret}"}
        assert guarded.simulate_delete("/api/vens/a/loads/l", headers=headers).status_code == status
    entries = rows(connection, "SELECT method, path, status FROM audit_log ORDER BY 1")
    assert entries == [("DELETE", "/api/vens/a/loads/l", 204)]
