"""The life of events, over a real database: VENs selected, commands, restores, and their times."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import psycopg
import pytest
from falcon import testing
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from jobs.events.lifecycle import follow_participations, move_events_on, share_out
from jobs.queries.events import following as following_queries
from jobs.running.runner import Runner
from jobs.running.schedule import Job, Step
from jobs.summaries.models import FollowedPartFrame
from jobs.summaries.rows import fetch
from jobs.transforms.events.participation import followed
from schemas.demand_response.candidates import Rest
from serving.app import create_app
from tests.integration.mortal import Fuse, mortal_engine

START = datetime(2026, 1, 15, 17, tzinfo=UTC)
REST = Rest(timedelta(minutes=15), 6)
NO_REST = Rest(timedelta(0), 1_000)
EVENTS = Job("events", 0.5, "", (move_events_on, follow_participations, partial(share_out, rest=NO_REST)))
RESTED = Job("events", 0.5, "", (move_events_on, follow_participations, partial(share_out, rest=REST)))


def noted(event: dict[str, Any]) -> dict[str, int]:
    """The notes of an event: numbers of VENs by reason."""
    return {note["reason"]: note["vens"] for note in event["notes"]}


class Grid:
    """Some VENs, the jobs and the API over one database, at a time that the test sets."""

    def __init__(self, engine: Engine, connection: psycopg.Connection) -> None:
        self.now = START - timedelta(minutes=1)
        self.engine = engine
        self.db = connection
        self.client = testing.TestClient(create_app(engine, lambda: self.now, []))

    def at(self, minutes: float, job: Job = EVENTS) -> None:
        """Look at the events, so many minutes after their start."""
        self.now = START + timedelta(minutes=minutes)
        self.look(job)

    def look(self, job: Job = EVENTS) -> None:
        Runner(self.engine, lambda: self.now).run(job)

    def ven(self, ven_id: str, *loads_kw: float, **said: Any) -> None:
        self.db.execute("INSERT INTO vens (ven_id, created_at) VALUES (%s, now())", [ven_id])
        self.db.execute(
            "INSERT INTO ven_snapshots (ven_id, status, shed_power_kw) VALUES (%s, %s, %s)",
            [ven_id, said.get("status", "online"), said.get("shed_kw")],
        )
        for number, kw in enumerate(loads_kw):
            self.db.execute(
                "INSERT INTO load_snapshots (ven_id, load_id, ts, shed_capability_kw, enabled)"
                " VALUES (%s, %s, now(), %s, %s)",
                [ven_id, f"l{number}", kw, said.get("enabled")],
            )

    def event(
        self, event_id: str = "e", start: float = 0, end: float = 60, kw: float = 6, **said: Any
    ) -> dict[str, Any]:
        """Create an event; returns the answer."""
        wish = {
            "id": event_id,
            "startTime": (START + timedelta(minutes=start)).isoformat(),
            "endTime": (START + timedelta(minutes=end)).isoformat(),
            "requestedReductionKw": kw,
            "leadTimeS": 300,
            **said,
        }
        response = self.client.simulate_post("/api/events", json=wish)
        assert response.status_code == 201, response.text
        return dict(response.json)

    def preview(self, kw: float, **said: Any) -> Any:
        wish = {"startTime": minute(0), "endTime": minute(60), "requestedReductionKw": kw, **said}
        response = self.client.simulate_post("/api/events", params={"dryRun": "1"}, json=wish)
        assert response.status_code == 200, response.text
        return response.json

    def change(self, event_id: str = "e", **changes: Any) -> None:
        response = self.client.simulate_patch(f"/api/events/{event_id}", json=changes)
        assert response.status_code == 200, response.text

    def opt_out(self, ven_id: str, start: float, end: float) -> str:
        body = {
            "from": (START + timedelta(minutes=start)).isoformat(),
            "to": (START + timedelta(minutes=end)).isoformat(),
            "reason": "guests",
        }
        response = self.client.simulate_post(f"/api/vens/{ven_id}/opt-outs", json=body)
        assert response.status_code == 201, response.text
        return str(response.json["id"])

    def report(self, ven_id: str, minutes: float, event_id: str | None = None, shed_kw: float = 0) -> None:
        self.db.execute(
            "UPDATE ven_snapshots SET ts = %s, event_id = %s, shed_power_kw = %s WHERE ven_id = %s",
            [START + timedelta(minutes=minutes), event_id, shed_kw, ven_id],
        )

    def presence(self, ven_id: str, status: str) -> None:
        self.db.execute("UPDATE ven_snapshots SET status = %s WHERE ven_id = %s", [status, ven_id])

    def answer(self, ven_id: str, status: str, event_id: str = "e") -> None:
        """To every command that is open."""
        self.db.execute(
            "UPDATE commands SET status = %s, acknowledged_at = %s"
            " WHERE ven_id = %s AND event_id = %s AND status IN ('pending', 'sent')",
            [status, self.now, ven_id, event_id],
        )

    def status(self, event_id: str = "e") -> str:
        return str(self.client.simulate_get(f"/api/events/{event_id}").json["status"])

    def notes(self, event_id: str = "e") -> dict[str, int]:
        """How many VENs are passed over, by reason."""
        return noted(self.client.simulate_get(f"/api/events/{event_id}").json)

    def parts(self, event_id: str = "e") -> dict[str, tuple[str, float]]:
        """Of each VEN: status and share."""
        found = self.db.execute(
            "SELECT ven_id, status, requested_reduction_kw FROM event_participations"
            " WHERE event_id = %s ORDER BY ven_id",
            [event_id],
        )
        return {ven_id: (status, round(kw, 6)) for ven_id, status, kw in found}

    def times(self, ven_id: str, event_id: str = "e") -> dict[str, float | None]:
        """Minutes after the start of what has happened to a VEN."""
        names = ("notified_at", "acknowledged_at", "opted_out_at", "started_at", "finished_at")
        columns = ", ".join(names)
        query = f"SELECT {columns} FROM event_participations WHERE ven_id = %s AND event_id = %s"
        [row] = self.db.execute(query.encode(), [ven_id, event_id])
        return {
            name[:-3]: (at - START).total_seconds() / 60 for name, at in zip(names, row, strict=True) if at
        }

    def sent(self, ven_id: str) -> list[tuple[str, str, float | None, str]]:
        """Commands: op, event, what it asks for, status."""
        found = self.db.execute(
            "SELECT op, event_id, data->>'requestedReductionKw', status FROM commands WHERE ven_id = %s"
            " ORDER BY created_at",
            [ven_id],
        )
        return [(op, event_id, kw and round(float(kw), 6), status) for op, event_id, kw, status in found]

    def active_events(self) -> dict[str, str | None]:
        """Of each VEN, equal in the list and in the single answers."""
        listed = self.client.simulate_get("/api/vens").json
        found = {ven["id"]: ven["metrics"]["activeEventId"] for ven in listed}
        for ven_id, event_id in found.items():
            assert (
                self.client.simulate_get(f"/api/vens/{ven_id}").json["metrics"]["activeEventId"] == event_id
            )
        return found

    def everything(self) -> list[list[tuple[Any, ...]]]:
        """All that the jobs write, but for random ids and the moments of looking."""
        queries = {
            "events": "event_id, status, started_at, ended_at",
            "event_participations": "event_id, ven_id, status, available_kw, requested_reduction_kw,"
            "notified_at, finished_at",
            "commands": "event_id, ven_id, created_at, op, data::text, status, expires_at",
        }
        return [
            self.db.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2, 3, 4".encode()).fetchall()
            for table, columns in queries.items()
        ]


SHARES = (
    "SELECT ven_id, extract(epoch FROM at - %s)::float8 / 60, requested_reduction_kw FROM event_shares"
    " ORDER BY 1, 2"
)


@pytest.fixture
def grid(engine: Engine, connection: psycopg.Connection) -> Grid:
    return Grid(engine, connection)


@pytest.fixture
def three(grid: Grid) -> Grid:
    """Three VENs that could shed 12 kW."""
    grid.ven("a", 1, 1)
    grid.ven("b", 4)
    grid.ven("c", 6)
    return grid


# On time


def test_an_event_runs_its_course(three: Grid) -> None:
    three.event(leadTimeS=30)
    three.at(-0.6)
    assert (three.status(), three.parts()) == ("scheduled", {})
    three.at(-0.5)
    assert three.parts() == {"a": ("notified", 1), "b": ("notified", 2), "c": ("notified", 3)}
    assert three.sent("b") == [("event", "e", 2, "pending")]
    assert three.status() == "scheduled"
    three.at(0)
    assert three.status() == "active"
    three.answer("a", "acknowledged")
    three.report("a", 0.5, "e", 1)
    three.report("b", 0.5, None, 2)
    three.at(0.6)
    assert three.parts() == {"a": ("started", 1), "b": ("started", 2), "c": ("notified", 3)}
    three.answer("c", "acknowledged")
    three.at(1)
    assert three.parts()["c"] == ("acknowledged", 3)
    three.at(59.99)
    assert three.status() == "active"
    three.at(60)
    assert three.status() == "completed"
    assert {status for status, _ in three.parts().values()} == {"finished"}
    assert three.times("a") == {"notified": -0.5, "acknowledged": 0, "started": 0.5, "finished": 60}
    assert three.times("c") == {"notified": -0.5, "acknowledged": 0.6, "finished": 60}
    for ven_id in "abc":
        assert [op for op, *_ in three.sent(ven_id)] == ["event", "restore"]


def test_what_a_ven_is_told(three: Grid) -> None:
    three.event(kw=3, venIds=["b"])
    three.look()
    [(data, created_at, expires_at)] = three.db.execute(
        "SELECT data, created_at, expires_at FROM commands"
    ).fetchall()
    assert data == {
        "event_id": "e",
        "start_ts": START.timestamp(),
        "end_ts": START.timestamp() + 3600,
        "duration_s": 3600,
        "requestedReductionKw": 3,
    }
    assert (created_at - three.now, expires_at) == (timedelta(milliseconds=1), START + timedelta(hours=1))


@pytest.mark.parametrize("minutes", [0, 0.01, 20, 58])
def test_who_acts_on_receipt_is_told_what_is_left(minutes: float, three: Grid) -> None:
    """VENs that get a late command: at the start by default, or because they have just appeared."""
    three.event(kw=3, venIds=["b"], leadTimeS=0)
    three.look()
    assert three.sent("b") == []
    three.at(minutes)
    [(seconds_left,)] = three.db.execute("SELECT data->'duration_s' FROM commands")
    assert seconds_left == round(60 * (60 - minutes))


def test_an_end_releases_whoever_was_told_of_it(three: Grid) -> None:
    """By time, too: VENs that count from receipt, or know no end, would go on."""
    three.event()
    three.at(0)
    three.answer("a", "acknowledged")
    three.answer("c", "rejected")
    three.at(59.99)
    assert [op for op, *_ in three.sent("a")] == ["event"]
    three.at(60)
    for ven_id in "abc":
        assert three.sent(ven_id)[-1] == ("restore", "e", None, "pending")
    query = "SELECT DISTINCT expires_at FROM commands WHERE op = 'restore'"
    assert three.db.execute(query).fetchall() == [(START + timedelta(minutes=65),)]
    before = three.everything()
    three.at(61)
    assert three.everything() == before


@pytest.mark.parametrize("how", ["stop", "cancel"])
@pytest.mark.parametrize("minutes", [-0.5, 10])
def test_whoever_has_opted_out_is_released_once_also_if_nobody_else_was_told(
    minutes: float, how: str, three: Grid
) -> None:
    """A cancelled event without a live part was passed over. A VEN that rejects may shed all the same."""
    three.event(venIds=["b"])
    three.at(-0.9)
    three.answer("b", "rejected")
    three.at(minutes)
    assert three.parts()["b"][0] == "opted_out"
    if how == "stop":
        three.client.simulate_post("/api/events/e/stop")
    else:
        three.client.simulate_delete("/api/events/e")
    three.at(minutes + 0.1)
    assert [op for op, *_ in three.sent("b")] == ["event", "restore"]
    assert three.parts()["b"][0] == "opted_out"
    before = three.everything()
    three.at(minutes + 0.2)
    assert three.everything() == before


def test_an_opt_out_of_an_event_that_was_cancelled_long_ago_sends_nothing(three: Grid) -> None:
    """As of an event that was cancelled by an earlier release of this program."""
    three.event(venIds=["b"])
    three.at(0)
    three.answer("b", "rejected")
    three.at(1)
    three.client.simulate_delete("/api/events/e")
    three.at(61)
    assert [op for op, *_ in three.sent("b")] == ["event"]


def test_a_restore_that_nobody_answers_does_not_end_the_next_event(three: Grid) -> None:
    three.event("first", kw=3, venIds=["b"])
    three.at(0)
    three.event("second", 61, 90, kw=3, venIds=["b"], leadTimeS=0)
    three.at(60)
    three.db.execute("UPDATE commands SET status = 'sent', attempts = 1 WHERE op = 'restore'")
    three.at(60.5)
    assert three.sent("b")[1:] == [("restore", "first", None, "sent")]
    three.at(61)
    assert three.sent("b")[1:] == [
        ("restore", "first", None, "expired"),
        ("event", "second", 3, "pending"),
    ]


def test_an_event_that_is_over_and_still_named_is_none(three: Grid) -> None:
    """A VEN that never stops naming its first event takes part in the second all the same."""
    three.event("first", kw=3, venIds=["b"])
    three.at(0)
    three.report("b", 0.5, "first", 3)
    three.at(1)
    assert three.parts("first") == {"b": ("started", 3)}
    three.event("second", 61, 90, kw=2, venIds=["b"])
    three.at(61)
    assert three.parts("second") == {"b": ("notified", 2)}
    three.report("b", 62, "first", 2)
    three.at(62)
    assert three.parts("second") == {"b": ("started", 2)}
    three.report("b", 63, "elsewhere", 2)
    three.at(63)
    assert three.parts("second") == {"b": ("started", 2)}


@pytest.mark.parametrize("how", ["time", "stop", "cancel"])
def test_an_event_that_is_over_is_not_repeated_as_active(how: str, three: Grid) -> None:
    """If a VEN goes on naming it. An event unknown to this gateway is shown as the VEN reports it."""
    three.event(kw=3, venIds=["b", "c"])
    three.at(0)
    three.report("a", 0.5, "elsewhere", 1)
    three.report("b", 0.5, "e", 1)
    three.report("c", 0.5, None, 1)
    three.at(1)
    assert three.active_events() == {"a": "elsewhere", "b": "e", "c": None}
    if how == "stop":
        three.client.simulate_post("/api/events/e/stop")
    elif how == "cancel":
        three.client.simulate_delete("/api/events/e")
    three.at(60 if how == "time" else 2)
    assert three.active_events() == {"a": "elsewhere", "b": None, "c": None}


def test_an_event_that_begins_at_once_is_told_and_started_in_one_look(three: Grid) -> None:
    three.event(start=-2)
    three.look()
    assert (three.status(), len(three.parts())) == ("active", 3)


def test_a_start_that_was_missed_is_made_up_for(three: Grid) -> None:
    three.event()
    three.at(20)
    assert (three.status(), three.parts()["c"]) == ("active", ("notified", 3))
    assert three.db.execute("SELECT started_at FROM events").fetchall() == [(three.now,)]


def test_an_end_that_was_missed_is_made_up_for(three: Grid) -> None:
    three.event()
    three.at(0)
    three.at(90)
    assert three.status() == "completed"
    assert three.times("a")["finished"] == 60
    three.event("never", 100, 110)
    three.at(120)
    assert (three.status("never"), three.parts("never")) == ("completed", {})
    begun = "SELECT event_id FROM events WHERE started_at = start_time ORDER BY event_id"
    assert ("never",) in three.db.execute(begun).fetchall(), "else it would never be settled"


# Who is asked


def test_who_is_asked(grid: Grid) -> None:
    """Whoever adds to `controllablePowerKw`, with as much as it adds."""
    grid.ven("loads", 1, 2)
    grid.ven("disabled", 4, enabled=False)
    grid.ven("offline", 4, status="offline")
    grid.ven("maintained", 3, status="maintenance")
    grid.ven("without", shed_kw=2)
    grid.ven("idle", shed_kw=0)
    grid.ven("retired", 4)
    grid.ven("no/topic", 4)
    grid.ven("set", 9)
    grid.ven("switched off", 9)
    grid.db.execute("UPDATE vens SET retired_at = now() WHERE ven_id = 'retired'")
    grid.db.execute(
        "INSERT INTO loads (ven_id, load_id, shed_capability_kw, enabled, updated_at)"
        " VALUES ('set', 'l0', 5, NULL, now()), ('switched off', 'l0', NULL, false, now())"
    )
    expected = {
        "retired": 1,
        "unaddressable": 1,
        "offline": 1,
        "maintenance": 1,
        "no flexibility": 3,
    }
    assert noted(grid.event(kw=100)) == expected
    grid.look()
    assert grid.parts() == {"loads": ("notified", 3), "set": ("notified", 5), "without": ("notified", 2)}
    assert grid.notes() == expected


def test_only_those_named_are_asked(three: Grid) -> None:
    three.event(venIds=["a", "c"])
    three.look()
    assert three.parts() == {"a": ("notified", 1.5), "c": ("notified", 4.5)}


def test_who_took_part_not_long_ago_is_left_alone(three: Grid) -> None:
    three.event("first", 0, 10, venIds=["a"])
    three.event("second", 24, 30, leadTimeS=60)
    three.at(0, RESTED)
    three.at(10, RESTED)
    three.at(23, RESTED)
    assert three.parts("second").keys() == {"b", "c"}
    three.at(25, RESTED)
    assert three.parts("second").keys() == {"a", "b", "c"}


@pytest.mark.parametrize("called_off", [-1, 2])
def test_an_event_that_was_called_off_before_it_began_tires_nobody(called_off: float, three: Grid) -> None:
    """Also after its start, if the jobs were away."""
    three.event("first", 0, 10)
    three.look(RESTED)
    three.now = START + timedelta(minutes=called_off)
    three.client.simulate_delete("/api/events/first")
    three.event("second", 3, 10)
    three.at(3, RESTED)
    assert three.parts("second").keys() == {"a", "b", "c"}


def test_who_refused_an_event_or_was_taken_out_of_it_before_its_start_need_not_rest(three: Grid) -> None:
    three.event("refused", 0, 10, venIds=["a"])
    three.event("lost", 0, 10, venIds=["b"])
    three.look(RESTED)
    three.answer("a", "rejected", "refused")
    three.event("urgent", 5, 8, venIds=["b"], priority=1, leadTimeS=600)
    three.at(-0.5, RESTED)
    assert (three.parts("refused")["a"][0], three.parts("lost")["b"][0]) == ("opted_out", "finished")
    three.client.simulate_delete("/api/events/urgent")
    three.at(0, RESTED)
    three.at(10, RESTED)
    assert noted(three.event("next", 11, 30, venIds=["a", "b"], leadTimeS=0)) == {}
    three.at(11, RESTED)
    assert three.parts("next").keys() == {"a", "b"}


def test_nobody_is_asked_too_often_in_a_day(three: Grid) -> None:
    for number in range(8):
        three.event(f"e{number}", 60 * number, 60 * number + 10, venIds=["a"], leadTimeS=0)
        three.at(60 * number, RESTED)
        three.at(60 * number + 10, RESTED)
    assert [len(three.parts(f"e{number}")) for number in range(8)] == [1] * 6 + [0] * 2
    for event_id, start in (("on the day", 1438), ("after it", 1441)):
        three.event(event_id, start, start + 1, venIds=["a"], leadTimeS=0)
        three.at(start, RESTED)
    assert [len(three.parts(each)) for each in ("on the day", "after it")] == [0, 1]


def test_events_that_are_to_come_tire_nobody_yet(three: Grid) -> None:
    for number in range(6):
        three.event(f"e{number}", 120 + 60 * number, 130 + 60 * number, venIds=["a"], leadTimeS=86_400)
    three.look(RESTED)
    assert [len(three.parts(f"e{number}")) for number in range(6)] == [1] * 6
    three.event("now", 0, 10, venIds=["a"])
    three.at(0, RESTED)
    assert three.parts("now").keys() == {"a"}


# Who is passed over, and why


def test_an_event_that_asks_nobody_says_why(three: Grid) -> None:
    """With the default rest an event after another is accepted, active, and empty."""
    assert noted(three.event("first", 0, 10)) == {}
    three.at(0, RESTED)
    three.at(10, RESTED)
    assert noted(three.event("second", 11, 30, leadTimeS=0)) == {"resting": 3}
    three.at(11, RESTED)
    assert (three.status("second"), three.parts("second")) == ("active", {})
    assert three.notes("second") == {"resting": 3}
    three.at(25, RESTED)
    assert (len(three.parts("second")), three.notes("second")) == (3, {})
    assert three.notes("first") == {}


def test_notes_count_those_who_are_asked_too_often_or_needed_elsewhere(three: Grid) -> None:
    for number in range(6):
        three.event(f"e{number}", 60 * number, 60 * number + 10, venIds=["a"], leadTimeS=0)
        three.at(60 * number, RESTED)
        three.at(60 * number + 10, RESTED)
    assert noted(three.event("usual", 360, 420, venIds=["a", "b"], leadTimeS=0)) == {"asked too often": 1}
    assert noted(three.event("urgent", 360, 420, venIds=["b", "c"], priority=1)) == {}
    three.at(356, RESTED)
    three.at(360, RESTED)
    assert three.notes("usual") == {"asked too often": 1, "in another event": 1}
    assert three.notes("urgent") == {}


def test_of_several_reasons_the_first_is_noted(grid: Grid) -> None:
    for ven_id in ("re/tired", "no/topic", "out", "off", "still"):
        grid.ven(ven_id, 0, status="maintenance" if ven_id == "still" else "offline")
    grid.db.execute("UPDATE vens SET retired_at = now() WHERE ven_id = 're/tired'")
    grid.opt_out("out", 0, 10)
    reasons = ["retired", "unaddressable", "opted out", "offline", "maintenance"]
    assert grid.event()["notes"] == [{"reason": reason, "vens": 1} for reason in reasons]


def test_one_that_rests_is_noted_as_such_unless_it_is_needed_elsewhere(three: Grid) -> None:
    for number in range(6):
        three.event(f"e{number}", 60 * number, 60 * number + 10, venIds=["a", "b"], leadTimeS=0)
        three.at(60 * number, RESTED)
        three.at(60 * number + 10, RESTED)
    assert noted(three.event("usual", 311, 330, venIds=["a", "b"], leadTimeS=0)) == {"resting": 2}
    three.event("urgent", 311, 330, venIds=["b"], priority=1, leadTimeS=60)
    three.at(310.5, EVENTS)
    assert three.parts("urgent").keys() == {"b"}
    three.at(311, RESTED)
    assert three.notes("usual") == {"in another event": 1, "resting": 1}


def test_notes_follow_who_comes_and_goes(three: Grid) -> None:
    three.event(kw=12)
    three.at(0)
    assert three.notes() == {}
    three.answer("c", "rejected")
    three.presence("a", "maintenance")
    three.at(1)
    assert three.parts() == {"a": ("planned", 0), "b": ("notified", 4), "c": ("opted_out", 6)}
    assert three.notes() == {"opted out": 1, "maintenance": 1}
    three.presence("a", "offline")
    three.db.execute("UPDATE vens SET retired_at = now() WHERE ven_id = 'b'")
    three.at(2)
    assert three.notes() == {"retired": 1, "opted out": 1, "offline": 1}
    three.presence("a", "online")
    three.at(3)
    assert three.parts()["a"] == ("notified", 2)
    assert three.notes() == {"retired": 1, "opted out": 1}
    three.at(60)
    three.presence("a", "offline")
    three.at(61)
    assert three.notes() == {"retired": 1, "opted out": 1}


def test_those_whom_another_event_took_over_are_noted(three: Grid) -> None:
    three.event(kw=6)
    three.at(0)
    three.event("urgent", 10, 20, venIds=["b"], priority=1, leadTimeS=0)
    three.at(10)
    assert three.parts()["b"][0] == "finished"
    three.at(11)
    assert (three.notes(), three.notes("urgent")) == ({"in another event": 1}, {})
    three.at(21)
    assert three.status("urgent") == "completed"
    assert (three.parts()["b"][0], three.notes()) == ("finished", {"in another event": 1})


def test_who_refuses_the_more_urgent_event_is_asked_to_the_other(three: Grid) -> None:
    three.event("usual", venIds=["b"])
    three.event("urgent", venIds=["b"], priority=1)
    three.look()
    assert (three.parts("usual"), three.notes("usual")) == ({}, {"in another event": 1})
    three.answer("b", "rejected", "urgent")
    three.at(0)
    assert (three.parts("usual"), three.notes("usual")) == ({"b": ("notified", 4)}, {})
    assert three.parts("urgent")["b"][0] == "opted_out"


def test_only_those_that_an_event_names_are_passed_over(three: Grid) -> None:
    three.presence("a", "offline")
    three.presence("b", "offline")
    assert noted(three.event(venIds=["b", "c"], leadTimeS=0)) == {"offline": 1}
    changed = three.client.simulate_patch("/api/events/e", json={"venIds": ["c"]})
    assert changed.json["notes"] == []
    changed = three.client.simulate_patch("/api/events/e", json={"venIds": None})
    assert noted(changed.json) == {"offline": 2}


def test_a_status_that_people_registered_counts_until_a_ven_is_heard(grid: Grid) -> None:
    grid.ven("a", 3, status=None)
    grid.db.execute("UPDATE vens SET status = 'maintenance'")
    assert noted(grid.event()) == {"maintenance": 1}
    grid.presence("a", "online")
    grid.look()
    assert (grid.notes(), grid.parts()) == ({}, {"a": ("notified", 3)})


@pytest.mark.parametrize("kw", [6, 100])
def test_a_dry_run_says_what_would_be_and_writes_nothing(kw: float, three: Grid) -> None:
    three.ven("away", 3, status="offline")
    three.ven("idle", 0)
    three.opt_out("a", 30, 40)
    before = three.everything()
    preview = three.preview(kw)
    assert three.everything() == before
    assert preview["availableKw"] == 10
    assert preview["sharedReductionKw"] == min(kw, 10)
    assert preview["passedOver"] == [
        {"venId": "a", "reason": "opted out"},
        {"venId": "away", "reason": "offline"},
        {"venId": "idle", "reason": "no flexibility"},
    ]
    assert [note["vens"] for note in preview["notes"]] == [1, 1, 1]
    assert (preview["similarEvents"], preview["similarPerformancePercent"]) == ([], None)
    assert three.event(kw=kw)["notes"] == preview["notes"]
    three.at(0)
    told = {ven_id: share_kw for ven_id, (_, share_kw) in three.parts().items()}
    assert told == {each["venId"]: each["requestedReductionKw"] for each in preview["vens"]}


def test_a_dry_run_is_refused_as_the_event_would_be(three: Grid) -> None:
    three.event()
    wish = {"startTime": minute(0), "endTime": minute(60), "requestedReductionKw": 6}
    for params, changes, status in (
        ({"dryRun": "1"}, {}, 409),
        ({"dryRun": "1"}, {"endTime": minute(0)}, 400),
        ({"dryRun": "1"}, {"id": "e", "startTime": minute(70), "endTime": minute(80)}, 409),
        ({"dryRun": "1"}, {"venIds": ["nobody"]}, 400),
        ({"dryRun": "yes"}, {}, 400),
    ):
        refused = three.client.simulate_post("/api/events", params=params, json=wish | changes)
        assert refused.status_code == status, refused.text


# Who comes and goes


def test_a_share_that_is_refused_goes_to_others(three: Grid) -> None:
    three.event()
    three.look()
    three.answer("a", "acknowledged")
    three.answer("c", "rejected")
    three.at(1)
    assert three.parts() == {"a": ("acknowledged", 2), "b": ("notified", 4), "c": ("opted_out", 3)}
    assert three.times("c")["opted_out"] == -1, "when it refused, not when we looked"
    assert three.sent("b") == [("event", "e", 2, "expired"), ("event", "e", 4, "pending")]
    three.at(2)
    assert len(three.sent("b")) == 2


def test_one_that_leaves_opts_out(three: Grid) -> None:
    """Its reports have named the event, and do so no longer, also after it was asked again."""
    three.event()
    three.at(0)
    for ven_id in "abc":
        three.report(ven_id, 1, "e", 1)
    three.at(1)
    three.report("a", 2, None)
    three.report("b", 2, "of their own")
    three.at(2)
    assert [status for status, _ in three.parts().values()] == ["started"] * 3
    assert [op for op, *_ in three.sent("a")] == [op for op, *_ in three.sent("b")] == ["event", "event"]
    three.db.execute("UPDATE commands SET status = 'sent' WHERE status = 'pending'")
    three.at(2.9)
    assert [status for status, _ in three.parts().values()] == ["started"] * 3
    three.at(3)
    assert {ven_id: status for ven_id, (status, _) in three.parts().items()} == {
        "a": "opted_out",
        "b": "opted_out",
        "c": "started",
    }
    assert three.parts()["c"] == ("started", 6)


def test_a_report_from_after_the_end_is_not_a_refusal(three: Grid) -> None:
    """The VEN's clock is ahead of ours."""
    three.event()
    three.at(0)
    three.report("a", 59, "e", 1)
    three.at(59)
    three.report("a", 60.01)
    three.at(59.9)
    assert three.parts()["a"][0] == "started"


def test_one_that_appears_is_told_then(three: Grid) -> None:
    three.presence("c", "offline")
    three.event(kw=100)
    three.at(0)
    assert three.parts().keys() == {"a", "b"}
    three.ven("new", 2)
    three.presence("c", "online")
    three.at(30)
    assert three.parts() == {
        "a": ("notified", 2),
        "b": ("notified", 4),
        "c": ("notified", 6),
        "new": ("notified", 2),
    }
    assert three.sent("new") == [("event", "e", 2, "pending")]
    three.ven("late", 2)
    three.at(59.5)
    assert "late" not in three.parts()


def test_one_that_goes_and_comes_back_is_told_again(three: Grid) -> None:
    three.event()
    three.at(0)
    three.answer("c", "acknowledged")
    three.report("c", 1, "e", 3)
    three.at(1)
    three.presence("c", "offline")
    three.at(2)
    assert three.parts() == {"a": ("notified", 2), "b": ("notified", 4), "c": ("planned", 0)}
    three.presence("c", "online")
    three.report("c", 3)
    three.at(3)
    assert three.parts()["c"][0] == "notified"
    three.at(4)
    assert three.parts() == {"a": ("notified", 1), "b": ("notified", 2), "c": ("started", 3)}
    assert [op for op, *_ in three.sent("c")] == ["event", "event"]
    assert three.times("c")["notified"] == 3


def test_one_that_reboots_is_told_again_before_it_counts_as_opted_out(three: Grid) -> None:
    """Its reports name no event for 8 s; it acknowledges the repeated command, and names the event."""
    three.event()
    three.at(0)
    three.answer("c", "acknowledged")
    three.report("c", 1, "e", 3)
    three.at(1)
    three.report("c", 1.1)
    three.at(1.1)
    assert three.sent("c")[1:] == [("event", "e", 3, "pending")]
    three.at(1.15)
    assert len(three.sent("c")) == 2
    three.answer("c", "acknowledged")
    three.at(1.2)
    three.report("c", 1.3, "e", 3)
    three.at(1.3)
    three.at(5)
    assert three.parts() == {"a": ("notified", 1), "b": ("notified", 2), "c": ("started", 3)}
    three.report("c", 6)
    three.at(6)
    assert len(three.sent("c")) == 3, "it is asked again each time"


@pytest.mark.parametrize("how", ["names it", "acknowledges"])
def test_one_that_returns_is_back_in(how: str, three: Grid) -> None:
    three.event(kw=12)
    three.at(0)
    three.report("c", 1, "e", 6)
    three.at(1)
    three.report("c", 2)
    three.at(2)
    three.db.execute("UPDATE commands SET status = 'sent' WHERE status = 'pending'")
    three.at(3)
    assert three.parts()["c"] == ("opted_out", 6)
    if how == "names it":
        three.report("c", 4, "e", 6)
    else:
        three.now = START + timedelta(minutes=4)
        three.answer("c", "acknowledged")
    three.at(4)
    assert three.parts()["c"] == ("started", 6)
    query = "SELECT requested_reduction_kw FROM event_shares WHERE ven_id = 'c' ORDER BY at"
    assert [kw for (kw,) in three.db.execute(query)] == [6, 0, 6]
    three.at(5)
    assert three.parts()["c"] == ("started", 6)


@pytest.mark.parametrize("how", ["retired", "maintenance", "opted out"])
def test_one_that_is_not_asked_any_more_is_released(how: str, three: Grid) -> None:
    """Once; a new request sends a new command."""
    three.event(kw=12)
    three.at(0)
    three.answer("c", "acknowledged")
    three.now = START + timedelta(minutes=1)
    if how == "retired":
        assert three.client.simulate_delete("/api/vens/c").status_code == 204
    elif how == "maintenance":
        three.presence("c", "maintenance")
    else:
        three.opt_out("c", 0.5, 10)
    three.at(1)
    three.at(2)
    assert three.sent("c")[1:] == [("restore", "e", None, "pending")]
    assert three.parts()["c"] == (("opted_out", 6) if how == "opted out" else ("planned", 0))
    query = "SELECT requested_reduction_kw FROM event_shares WHERE ven_id = 'c' ORDER BY at"
    assert [kw for (kw,) in three.db.execute(query)] == [6, 0]
    if how == "retired":
        body = {"id": "c", "name": "c", "location": {"lat": 0, "lon": 0}}
        assert three.client.simulate_post("/api/vens", json=body).status_code == 201
    three.presence("c", "online")
    three.at(11)
    if how == "opted out":
        assert three.parts()["c"] == ("opted_out", 6), "of this event"
        return
    assert three.parts()["c"] == ("notified", 6)
    three.at(60)
    assert [op for op, *_ in three.sent("c")] == ["event", "restore", "event", "restore"]


def test_opt_outs_are_respected_by_whoever_asks(three: Grid) -> None:
    """Of an event to come, and of one that runs when the time is over."""
    three.opt_out("c", 30, 40)
    three.opt_out("b", -10, 5)
    three.event(kw=100)
    three.at(0)
    assert three.parts().keys() == {"a"}
    three.at(5)
    assert three.parts().keys() == {"a", "b"}
    three.at(39.9)
    assert three.parts().keys() == {"a", "b"}
    three.at(40)
    assert three.parts().keys() == {"a", "b", "c"}


# Stop and cancel


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_whoever_was_told_returns_to_normal(is_cancelled: bool, three: Grid) -> None:  # noqa: FBT001
    three.ven("never asked", 0)
    three.event()
    three.at(0)
    three.answer("a", "acknowledged")
    three.answer("c", "rejected")
    three.at(1)
    if is_cancelled:
        three.client.simulate_delete("/api/events/e")
    else:
        three.client.simulate_post("/api/events/e/stop")
    three.at(1.005)
    assert three.status() == ("cancelled" if is_cancelled else "completed")
    assert three.sent("never asked") == []
    for ven_id in "abc":
        assert three.sent(ven_id)[-1] == ("restore", "e", None, "pending")
    assert all(status != "pending" for op, _, _, status in three.sent("b") if op == "event")
    assert {ven_id: status for ven_id, (status, _) in three.parts().items()} == {
        "a": "finished",
        "b": "finished",
        "c": "opted_out",
    }
    assert three.times("a")["finished"] == 1
    before = three.everything()
    three.at(2)
    assert three.everything() == before


def test_a_cancelled_event_is_never_told(three: Grid) -> None:
    three.event(start=10, leadTimeS=60)
    three.look()
    three.client.simulate_delete("/api/events/e")
    three.at(15)
    assert (three.status(), three.parts(), three.sent("a")) == ("cancelled", {}, [])


# Changed by people


def minute(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).isoformat()


def test_a_new_request_is_shared_out_exactly_and_told(three: Grid) -> None:
    """Also by less than 5 %, by which the shares may exceed it otherwise."""
    three.event(kw=6)
    three.at(0)
    for ven_id in "abc":
        three.answer(ven_id, "acknowledged")
    three.at(9)
    three.now = START + timedelta(minutes=10)
    three.change(requestedReductionKw=5.9)
    three.at(10)
    shares = {ven_id: kw for ven_id, (_, kw) in three.parts().items()}
    assert sum(shares.values()) == pytest.approx(5.9)
    assert [three.sent("c")[-1][2]] == [pytest.approx(2.95)]
    three.change(requestedReductionKw=9)
    three.at(11)
    assert sum(kw for _, kw in three.parts().values()) == pytest.approx(9)
    assert [len(three.sent(ven_id)) for ven_id in "abc"] == [2, 3, 3], "as few as will do"
    before = three.everything()
    three.at(12)
    assert three.everything() == before
    query = "SELECT requested_reduction_kw FROM event_shares WHERE ven_id = 'a' ORDER BY at"
    assert [kw for (kw,) in three.db.execute(query)] == [1, pytest.approx(0.983, abs=0.001)]


@pytest.mark.parametrize("end", [30, 90])
def test_a_new_end_is_told_to_all_who_take_part(end: float, three: Grid) -> None:
    three.event()
    three.at(0)
    for ven_id in "ab":
        three.answer(ven_id, "acknowledged")
    three.answer("c", "rejected")
    three.at(9)
    before = {ven_id: len(three.sent(ven_id)) for ven_id in "abc"}
    three.now = START + timedelta(minutes=10)
    three.change(endTime=minute(end))
    three.at(10)
    for ven_id in "ab":
        told = "SELECT data->'end_ts', data->'duration_s', expires_at FROM commands WHERE ven_id = %s"
        newest = three.db.execute(told + " ORDER BY created_at DESC LIMIT 1", [ven_id]).fetchall()
        at = START + timedelta(minutes=end)
        assert newest == [(at.timestamp(), 60 * (end - 10), at)]
        assert len(three.sent(ven_id)) == before[ven_id] + 1
    assert len(three.sent("c")) == before["c"]
    three.at(11)
    three.at(end - 0.01)
    assert three.status() == "active"
    assert sum(len(three.sent(ven_id)) for ven_id in "abc") == sum(before.values()) + 2
    three.at(end)
    assert three.status() == "completed"
    assert three.sent("a")[-1] == ("restore", "e", None, "pending")


def test_new_targets_are_told_and_old_ones_released(three: Grid) -> None:
    three.event(kw=4, venIds=["a", "b"])
    three.at(0)
    three.now = START + timedelta(minutes=10)
    three.change(venIds=["b", "c"])
    three.at(10)
    three.at(11)
    assert three.parts() == {"a": ("planned", 0), "b": ("notified", 1.6), "c": ("notified", 2.4)}
    assert three.sent("a") == [
        ("event", "e", pytest.approx(4 / 3), "expired"),
        ("restore", "e", None, "pending"),
    ]
    three.change(venIds=None)
    three.at(12)
    assert three.parts()["a"][0] == "notified"
    three.at(60)
    assert [op for op, *_ in three.sent("a")] == ["event", "restore", "event", "restore"]


def test_a_priority_that_is_raised_takes_vens_over(three: Grid) -> None:
    three.event("low", 0, 60, kw=6)
    three.at(0)
    three.event("high", 10, 30, kw=4, venIds=["c"], priority=1, leadTimeS=0)
    three.now = START + timedelta(minutes=5)
    three.change("low", priority=2)
    three.at(10)
    assert (three.status("high"), three.parts("high")) == ("active", {})
    three.change("low", priority=0)
    three.at(11)
    assert three.parts("high") == {"c": ("notified", 4)}


@pytest.mark.thorough
def test_two_schedulers_tell_of_changes_once(three: Grid) -> None:
    for number in range(20):
        three.ven(f"v{number:02}", 1)
    three.event(kw=20)
    with ThreadPoolExecutor(2) as threads:
        for round_ in range(8):
            three.now = START + timedelta(minutes=round_)
            three.change(endTime=minute(60 + round_), requestedReductionKw=20 - round_)
            list(threads.map(lambda _: three.look(), range(4)))
    told = "ven_id, data->>'end_ts', data->>'requestedReductionKw'"
    query = f"SELECT {told}, count(*) FROM commands GROUP BY 1, 2, 3"
    assert {count for *_, count in three.db.execute(query.encode())} == {1}
    assert sum(kw for _, kw in three.parts().values()) == pytest.approx(13)
    ends = "SELECT DISTINCT told_end_time FROM event_participations"
    assert three.db.execute(ends).fetchall() == [(START + timedelta(minutes=67),)]


# Events at the same time


def test_the_more_urgent_event_takes_vens_over(three: Grid) -> None:
    three.event("low", 0, 120, kw=6)
    three.at(0)
    three.event("high", 30, 60, kw=4, venIds=["c"], priority=1, leadTimeS=60)
    three.at(28)
    assert three.parts("low")["c"] == ("notified", 3)
    three.at(29)
    assert three.parts("high") == {"c": ("notified", 4)}
    assert three.sent("c") == [
        ("event", "low", 3, "expired"),
        ("restore", "low", None, "pending"),
        ("event", "high", 4, "pending"),
    ]
    three.at(29.1)
    assert three.parts("low") == {"a": ("notified", 2), "b": ("notified", 4), "c": ("finished", 3)}
    three.at(70)
    assert (three.status("high"), three.parts("low")["c"]) == ("completed", ("finished", 3))


def test_the_less_urgent_event_leaves_vens_alone(three: Grid) -> None:
    three.event("low", 10, 120, kw=100, leadTimeS=0)
    three.event("high", 0, 60, kw=100, venIds=["a", "b"], priority=1)
    three.at(0)
    three.at(10)
    assert three.parts("low").keys() == {"c"}
    three.at(60)
    three.at(61)
    assert three.parts("low").keys() == {"a", "b", "c"}


# Whatever happens to the jobs


@pytest.mark.thorough
def test_two_schedulers_do_it_once(three: Grid) -> None:
    for number in range(20):
        three.ven(f"v{number:02}", 1)
    with ThreadPoolExecutor(2) as threads:
        for round_ in range(10):
            three.event(f"e{round_}", 10 * round_, 10 * round_ + 9)
            for minutes in (0, 3, 9):
                three.now = START + timedelta(minutes=10 * round_ + minutes)
                list(threads.map(lambda _: three.look(), range(2)))
    query = "SELECT event_id, ven_id, op, count(*) FROM commands GROUP BY 1, 2, 3"
    sent = three.db.execute(query).fetchall()
    assert len([op for _, _, op, _ in sent if op == "event"]) == 230
    assert len([op for _, _, op, _ in sent if op == "restore"]) == 230
    assert {count for *_, count in sent} == {1}
    assert three.db.execute("SELECT DISTINCT status FROM events").fetchall() == [("completed",)]


SCENE: tuple[Callable[[Grid], object], ...] = (
    lambda grid: grid.event("low", 0, 60),
    lambda grid: grid.at(0),
    lambda grid: grid.answer("a", "acknowledged", "low"),
    lambda grid: grid.answer("b", "rejected", "low"),
    lambda grid: grid.at(1),
    lambda grid: grid.event("high", 5, 20, kw=3, venIds=["c"], priority=1, leadTimeS=60),
    lambda grid: grid.at(4),
    lambda grid: grid.at(5),
    lambda grid: grid.presence("a", "offline"),
    lambda grid: grid.at(6),
    lambda grid: grid.presence("a", "online"),
    lambda grid: grid.at(7),
    lambda grid: grid.change("low", endTime=minute(50), requestedReductionKw=3),
    lambda grid: grid.at(7.2),
    lambda grid: grid.change("low", venIds=["a"]),
    lambda grid: grid.at(7.4),
    lambda grid: grid.report("a", 7.4, "low", 1),
    lambda grid: grid.at(7.5),
    lambda grid: grid.report("a", 7.6),
    lambda grid: grid.at(7.7),
    lambda grid: grid.presence("a", "maintenance"),
    lambda grid: grid.at(7.8),
    lambda grid: grid.client.simulate_post("/api/events/low/stop"),
    lambda grid: grid.at(8),
    lambda grid: grid.at(20),
)


class Mortal(Grid):
    """Its jobs die at each of their statements, one after the other, and are started again."""

    def __init__(self, engine: Engine, connection: psycopg.Connection, mortal: Engine, fuse: Fuse) -> None:
        super().__init__(engine, connection)
        self._mortal = mortal
        self._fuse = fuse
        self.deaths = 0

    def look(self, job: Job = EVENTS) -> None:
        for step in job.steps:
            self._take(step)

    def _take(self, step: Step) -> None:
        for statement in range(1, 100):
            # A connection of the pool would die of the ping, and be replaced.
            self._mortal.dispose()
            self._fuse.left = statement
            try:
                with self._mortal.begin() as connection:
                    step(connection, self.now)
            except (SQLAlchemyError, psycopg.Error):
                self.deaths += 1
            if self._fuse.left > 0:
                return
        raise AssertionError("the step never comes to an end")


@pytest.fixture
def mortal(engine: Engine, connection: psycopg.Connection, database_url: str) -> Iterator[Mortal]:
    its_engine, fuse = mortal_engine(database_url)
    yield Mortal(engine, connection, its_engine, fuse)
    its_engine.dispose()


@pytest.mark.thorough
def test_a_death_at_any_statement_changes_nothing(mortal: Mortal, engine: Engine) -> None:
    for grid in (mortal, Grid(engine, mortal.db)):
        mortal.db.execute(
            "TRUNCATE events, event_participations, event_shares, event_requests, commands, vens,"
            " ven_snapshots, load_snapshots"
        )
        for ven_id, kw in (("a", 2), ("b", 4), ("c", 6)):
            grid.ven(ven_id, kw)
        for act in SCENE:
            act(grid)
        if grid is mortal:
            found = grid.everything()
    assert mortal.deaths > 100
    assert found == grid.everything()
    assert grid.status("low") == grid.status("high") == "completed"


# What is read


@pytest.mark.thorough
def test_only_what_may_have_moved_on_is_read_and_all_that_has(
    engine: Engine, connection: psycopg.Connection
) -> None:
    """Every combination of what may be known of a VEN, before the start and after it."""
    psycopg.ClientCursor(connection).execute(
        EVERY_CASE.encode(), {"start": START, "end": START + timedelta(hours=1)}
    )
    now = START + timedelta(minutes=10)
    with engine.connect() as own:
        events = following_queries.followed_events().all(own)
        assert [event.event_id for event in events] == ["e0", "e1"]
        every, some = (
            fetch(own, following_queries.followed_parts(events, now, only_news=only_news), FollowedPartFrame)
            for only_news in (False, True)
        )
    moved = followed(every, now)
    assert moved.height > 1_000
    unread = moved.join(followed(some, now), on=moved.columns, how="anti", nulls_equal=True)
    assert unread.is_empty(), unread.to_dicts()[:3]
    assert followed(moved, now).is_empty()
    assert every.height - some.height > 1_000


EVERY_CASE = """
CREATE TEMPORARY TABLE cases AS SELECT row_number() OVER () AS n, * FROM
    unnest(array['e0', 'e1']) event_id,
    unnest(array['planned', 'notified', 'acknowledged', 'started', 'opted_out']) status,
    unnest(array[NULL, 'sent', 'acknowledged', 'rejected']) command_status,
    unnest(array[NULL, interval '-1 min', '5 min', '61 min']) reported,
    unnest(array[NULL, 'e0', 'e1', 'e2', 'x']) names,
    unnest(array[NULL, 1.0]) shed_kw,
    unnest(array['online', 'offline', 'maintenance']) presence,
    unnest(array[NULL, interval '8 min', '9.9 min']) asked_again,
    unnest(array[NULL, interval '2 min']) released,
    unnest(array[false, true]) was_named,
    unnest(array[false, true]) was_acknowledged;
DELETE FROM cases WHERE asked_again IS NOT NULL AND status IN ('planned', 'opted_out')
    OR released IS NOT NULL AND status NOT IN ('planned', 'opted_out');
INSERT INTO events (event_id, status, start_time, end_time, requested_reduction_kw, notify_at, created_at)
SELECT 'e' || n, s, %(start)s, %(end)s, 1, %(start)s, %(start)s
FROM unnest(array['scheduled', 'active', 'completed']) WITH ORDINALITY t (s, o),
    LATERAL (SELECT o - 1 AS n) u;
INSERT INTO vens (ven_id, created_at) SELECT 'v' || n, %(start)s FROM cases;
INSERT INTO ven_snapshots (ven_id, status, ts, event_id, shed_power_kw)
SELECT 'v' || n, presence, %(start)s + reported, names, shed_kw FROM cases;
INSERT INTO commands (ven_id, command_id, op, event_id, data, status, created_at, next_attempt_at, expires_at,
    acknowledged_at)
SELECT 'v' || n, 'c', 'event', event_id, '{}', command_status, %(start)s, %(start)s, %(end)s,
    CASE WHEN command_status IN ('acknowledged', 'rejected') THEN %(start)s::timestamptz END
FROM cases WHERE command_status IS NOT NULL;
INSERT INTO event_participations (ven_id, event_id, status, available_kw, requested_reduction_kw, command_id,
    notified_at, acknowledged_at, started_at, named_at, opted_out_at, asked_again_at, released_at)
SELECT 'v' || n, event_id, status, 1, CASE WHEN status = 'planned' THEN 0 ELSE 1 END,
    CASE WHEN command_status IS NOT NULL THEN 'c' END, %(start)s,
    CASE WHEN was_acknowledged THEN %(start)s::timestamptz END,
    CASE WHEN status = 'started' THEN %(start)s::timestamptz END,
    CASE WHEN was_named THEN %(start)s::timestamptz END,
    CASE WHEN status = 'opted_out' THEN %(start)s::timestamptz + interval '1 min' END,
    %(start)s::timestamptz + asked_again, %(start)s::timestamptz + released
FROM cases;
INSERT INTO ven_opt_outs (ven_id, opt_out_id, start_time, end_time, reason, created_at)
SELECT 'v' || n, 'o', %(start)s, %(end)s, '', %(start)s FROM cases WHERE n %% 7 = 0;
"""


def test_every_share_is_kept_with_its_time(grid: Grid) -> None:
    """Told at -5 minutes; one opts out, one goes away: asked for nothing then, and others for more."""
    grid.now = START - timedelta(minutes=10)
    for ven_id in ("a", "b", "c"):
        grid.ven(ven_id, 4.0)
    grid.event(kw=6)
    grid.at(-5)
    grid.at(-4)
    grid.answer("a", "rejected")
    grid.at(-3)
    shares = grid.db.execute(SHARES.encode(), [START]).fetchall()
    of_each = {
        ven_id: [(at, round(kw, 6)) for ven, at, kw in shares if ven == ven_id] for ven_id in ("a", "b", "c")
    }
    assert of_each["a"] == [(-5.0, 2.0), (-4.0, 0.0)]
    assert sum(of_each[ven_id][-1][1] for ven_id in ("b", "c")) == pytest.approx(6.0)
    assert all(of_each[ven_id][0] == (-5.0, 2.0) for ven_id in ("b", "c"))
    grid.presence("b", "offline")
    grid.at(1)
    shares = grid.db.execute(SHARES.encode(), [START]).fetchall()
    assert [(at, kw) for ven, at, kw in shares if ven == "b"][-1] == (1.0, 0.0)
    now_kw = {ven: share for ven, (_, share) in grid.parts().items()}
    last_kw = {ven: kw for ven, _, kw in shares}
    assert {ven: last_kw[ven] for ven in ("b", "c")} == pytest.approx(
        {ven: now_kw[ven] for ven in ("b", "c")}
    )
