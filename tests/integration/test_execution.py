"""A command is executed when telemetry shows it: not by its answer, nor by other loads, nor too late."""

from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from ingest.storing.store import Store
from jobs.events.execution import see_executions
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from schemas.db.channels import COMMANDS, EVENTS
from schemas.demand_response.commands import Op
from tests.integration.outboxes import of, put
from tests.integration.published import NOW, batch_of, description, telemetry

SENT = NOW
S = timedelta(seconds=1)


@pytest.fixture
def acknowledged(engine: Engine, connection: psycopg.Connection) -> Any:
    def acknowledged(op: Op, **data: Any) -> str:
        [command_id] = put(engine, "v", now=SENT, op=op, **data)
        connection.execute(
            "UPDATE commands SET status = 'acknowledged', sent_at = %s, acknowledged_at = %s"
            " WHERE command_id = %s",
            [SENT, SENT + S, command_id],
        )
        return command_id

    return acknowledged


def look(engine: Engine, now: datetime = SENT + timedelta(minutes=1)) -> int:
    with engine.begin() as connection:
        return see_executions(connection, now)


def shedding(at: datetime, kw: float | None, load_id: str = "l", ven_id: str = "v") -> Any:
    return telemetry(ven_id, at, loads=[{"id": load_id, "currentPowerKw": 1, "shedPowerKw": kw}])


def test_a_load_sheds_at_the_first_sample_that_says_so(
    acknowledged: Any, store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    command_id = acknowledged("shedLoad", loadId="l", reduceKw=1, durationS=60, eventId="e-1")
    connection.execute(f"LISTEN {COMMANDS}".encode())
    connection.execute(f"LISTEN {EVENTS}".encode())
    store.write(
        batch_of(
            shedding(SENT - S, 1),  # before
            shedding(SENT, 1),  # the very instant is not after
            shedding(SENT + 5 * S, 0),
            shedding(SENT + 6 * S, None),
            shedding(SENT + 7 * S, 1, load_id="other"),
            shedding(SENT + 8 * S, 1, ven_id="other"),
            shedding(SENT + 61 * S, 1),  # after its end
        )
    )
    assert look(engine) == 0
    store.write(batch_of(shedding(SENT + 60 * S, 0.1), shedding(SENT + 20 * S, 0.1)))
    assert look(engine) == 1
    assert of(connection, command_id, "executed_at", "status") == (SENT + 20 * S, "acknowledged")
    told = sorted((each.channel, each.payload) for each in connection.notifies(timeout=5, stop_after=2))
    assert told == [(COMMANDS, ""), (EVENTS, "e-1")]
    store.write(batch_of(shedding(SENT + 10 * S, 0.1)))
    assert look(engine) == 0
    assert of(connection, command_id, "executed_at") == (SENT + 20 * S,), "once set it stays"


def test_a_panel_sheds(
    acknowledged: Any, store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    command_id = acknowledged("shedPanel", requestedReductionKw=1, durationS=60)
    store.write(batch_of(telemetry("v", SENT + S, 1.0), telemetry("w", SENT + S, 1.0, shedPowerKw=2)))
    assert look(engine) == 0
    store.write(batch_of(telemetry("v", SENT + 2 * S, 1.0, shedPowerKw=0.3)))
    assert look(engine) == 1
    assert of(connection, command_id, "executed_at") == (SENT + 2 * S,)


@pytest.mark.parametrize("status", ["pending", "sent", "rejected", "expired", "failed"])
def test_only_what_the_ven_has_acknowledged_is_watched(
    status: str, acknowledged: Any, store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    acknowledged("shedLoad", loadId="l", reduceKw=1, durationS=60)
    connection.execute("UPDATE commands SET status = %s", [status])
    store.write(batch_of(shedding(SENT + S, 1)))
    assert look(engine) == 0


def test_nobody_watches_for_ever(acknowledged: Any, store: Store, engine: Engine) -> None:
    acknowledged("shedLoad", loadId="l", reduceKw=1, durationS=60)
    store.write(batch_of(shedding(SENT + S, 1)))
    assert look(engine, SENT + timedelta(hours=26)) == 0
    assert look(engine, SENT + timedelta(hours=24)) == 1


def catch_up(engine: Engine) -> None:
    Runner(engine, lambda: NOW).catch_up([job for job in schedule(Cadence()) if job.has_backlog])


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"enabled": True}, {"enabled": False}),
        ({"enabled": False}, {"enabled": True}),
        ({"capacityKw": 4}, {"capacityKw": 4.5}),
        ({"priority": 1}, {"priority": 0}),
        (
            {"enabled": False, "capacityKw": 2.0, "priority": 2},
            {"enabled": False, "capacityKw": 2.0, "priority": 3},
        ),
    ],
)
def test_a_load_is_as_it_was_set(
    before: dict[str, Any],
    after: dict[str, Any],
    acknowledged: Any,
    store: Store,
    engine: Engine,
    connection: psycopg.Connection,
) -> None:
    command_id = acknowledged("setLoad", loadId="l", **after)
    store.write(batch_of(description("v", SENT, {"id": "l", **after})))  # said before, so no sign of it
    catch_up(engine)
    assert look(engine) == 0
    store.write(batch_of(telemetry("v", SENT + S, loads=[{"id": "l", **before}])))
    catch_up(engine)
    assert look(engine) == 0
    store.write(batch_of(description("v", SENT + 9 * S, {"id": "l", **after})))
    catch_up(engine)
    assert look(engine) == 1
    assert of(connection, command_id, "executed_at") == (SENT + 9 * S,)


def test_fields_may_be_said_one_after_the_other(
    acknowledged: Any, store: Store, engine: Engine, connection: psycopg.Connection
) -> None:
    command_id = acknowledged("setLoad", loadId="l", enabled=True, priority=2)
    for at, said in ((3, {"priority": 2}), (4, {"capacityKw": 1}), (5, {"enabled": True})):
        catch_up(engine)
        assert look(engine) == 0
        store.write(batch_of(telemetry("v", SENT + at * S, loads=[{"id": "l", **said}])))
    catch_up(engine)
    assert look(engine) == 1
    assert of(connection, command_id, "executed_at") == (SENT + 5 * S,)
