"""Alarms: faults raise them, their end clears them; listed, acknowledged and streamed."""

import json
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from falcon import testing
from sqlalchemy import Connection, Engine, text

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from ingest.storing.store import Store
from jobs.alarms.evaluation import evaluate_alarms
from jobs.alarms.measures import Measure, measures
from jobs.alarms.rules import AlarmLimits, AlarmReading
from jobs.events.presence import judge_presence
from jobs.running.metrics import AlarmConditions
from jobs.running.runner import Runner
from jobs.running.schedule import Job, schedule
from jobs.running.successes import RECORDED_EVERY_S
from jobs.settings import Cadence
from jobs.storage.trimming import trim_alarms
from jobs.summaries.lanes import consume_snapshot_batches
from jobs.transforms.events.presence import PresenceTime
from schemas.alarms import ALARM_KINDS, AlarmKind
from serving.app import create_app
from serving.auth.keys import KeyStore
from serving.live.changes import ChangeLog
from serving.policy import Policy
from serving.routes import AppOptions
from tests.conftest import migrate
from tests.integration.published import THREE, rows, value

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
PRESENCE_TIME = PresenceTime(intervals=3, at_least=timedelta(seconds=60))
ALARMS = "SELECT kind, subject, cleared_at IS NULL FROM alarms ORDER BY alarm_id"
MAX_AHEAD = timedelta(minutes=5)


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


class Site:
    """A database, and a clock that the test moves."""

    def __init__(self, engine: Engine, connection: psycopg.Connection, store: Store) -> None:
        self.engine = engine
        self.connection = connection
        self.store = store
        self.limits = AlarmLimits()
        self.periods_s: Mapping[str, float] = {}
        self.client = testing.TestClient(create_app(engine, lambda: START, []))

    def report(self, second: float, *ven_ids: str, behind_s: float = 0) -> None:
        """Reports received at a second, of VENs whose clocks may be wrong."""
        self.write(
            Received(
                f"oadr/meter/{ven_id}",
                json.dumps({"timestamp": at(second - behind_s).timestamp(), "usedPowerKw": 1}).encode(),
                at(second),
            )
            for ven_id in ven_ids
        )

    def write(self, messages: Any) -> None:
        self.store.write(Batch.of(list(messages), MAX_AHEAD))
        with self.engine.begin() as connection:
            consume_snapshot_batches(connection, START)

    def judge_presence(self, second: float) -> None:
        with self.engine.begin() as connection:
            judge_presence(connection, at(second), PRESENCE_TIME)

    def evaluate(self, second: float, chosen: Mapping[AlarmKind, Measure] | None = None, **said: Any) -> int:
        """Evaluate all, and return how many alarms were raised or cleared."""
        measured = measures(self.limits, self.periods_s) if chosen is None else chosen
        with self.engine.begin() as connection:
            return evaluate_alarms(connection, at(second), self.limits, measured, **said)

    def execute(self, statement: str, *values: object) -> None:
        self.connection.execute(statement.encode(), values)
        self.connection.commit()

    def get(self, path: str, **parameters: str) -> Any:
        response = self.client.simulate_get(path, params=parameters)
        assert response.status_code == 200, response.text
        return response.json

    def open_alarms(self) -> list[tuple[str, str]]:
        return [(alarm["kind"], alarm["subject"]) for alarm in self.get("/api/alarms", state="open")]


@pytest.fixture
def site(engine: Engine, connection: psycopg.Connection, store: Store) -> Site:
    return Site(engine, connection, store)


def test_nothing_is_wrong_with_an_empty_service(site: Site) -> None:
    assert site.evaluate(0) == 0
    assert site.get("/api/alarms") == []
    conditions = site.get("/api/alarms/conditions")
    assert [each["kind"] for each in conditions] == sorted(ALARM_KINDS)
    assert {each["error"] for each in conditions} == {None}
    assert {each["evaluatedAt"] for each in conditions} == {"2026-03-01T12:00:00Z"}


def test_a_share_of_the_fleet_falls_offline(site: Site) -> None:
    """The alarm stays as long as they are away, however long ago they left; and a while after."""
    fleet = [f"ven-{number}" for number in range(10)]
    for second in (0, 5, 10):
        site.report(second, *fleet)
    site.judge_presence(11)
    assert site.evaluate(12) == 0
    site.report(60, *fleet[2:])
    site.judge_presence(75)
    assert site.evaluate(76) == 1
    [alarm] = site.get("/api/alarms")
    assert alarm["detail"] == "2 of 10 VENs went offline within 10 minutes."
    assert (alarm["kind"], alarm["value"], alarm["severity"], alarm["unit"]) == (
        "vens_offline",
        20.0,
        "critical",
        "%",
    )
    site.limits = AlarmLimits(ingest_silent_s=1e6)
    assert site.evaluate(3_600) == 0
    site.report(3_601, *fleet)
    site.judge_presence(3_602)
    assert site.evaluate(3_603) == 0
    assert site.evaluate(3_603 + 119) == 0
    assert site.open_alarms() == [("vens_offline", "")]
    assert site.evaluate(3_603 + 120) == 1
    [alarm] = site.get("/api/alarms", state="cleared")
    assert (alarm["clearedAt"], alarm["value"], alarm["worstValue"]) == ("2026-03-01T13:02:03Z", 0.0, 20.0)


def test_a_few_that_have_been_offline_for_long_are_no_alarm(site: Site) -> None:
    """Nor are retired VENs."""
    site.report(0, "old-1", "old-2", "retired")
    site.judge_presence(100)
    site.execute("UPDATE vens SET retired_at = now() WHERE ven_id = 'retired'")
    assert site.evaluate(101) == 1
    [alarm] = site.get("/api/alarms")
    assert alarm["detail"].startswith("2 of 2 VENs")
    site.execute("DELETE FROM alarms")
    site.report(1_000, "new-1", "new-2")
    site.judge_presence(1_001)
    assert site.evaluate(1_001) == 0


def test_messages_are_refused_above_a_rate(site: Site) -> None:
    """299 within five minutes are below 60 a minute."""
    refused = [Received("oadr/meter/a", b"{", at(second)) for second in range(299)]
    site.write(refused)
    assert site.evaluate(299) == 0
    site.write([Received("oadr/meter/a", b"[", at(299))])
    assert site.evaluate(299) == 1
    [alarm] = site.get("/api/alarms")
    assert (alarm["kind"], alarm["value"]) == ("messages_refused", 60.0)
    assert alarm["detail"].startswith("Rejected within 5 minutes: ")
    assert site.evaluate(340) == 0
    site.limits = AlarmLimits(ingest_silent_s=1e6)
    assert [site.evaluate(second) for second in (600, 719, 720)] == [0, 0, 1]


EVENT = """
INSERT INTO events (event_id, status, start_time, end_time, requested_reduction_kw, notify_at, started_at,
    created_at) VALUES (%s, %s, %s, %s, 5, %s, %s, %s)
"""
PROGRESS = """
INSERT INTO event_progress (event_id, efficiency_percent, vens_responding, refreshed_at)
VALUES (%s, %s, 1, now())
ON CONFLICT (event_id) DO UPDATE SET efficiency_percent = excluded.efficiency_percent
"""


def test_a_running_event_underdelivers(site: Site) -> None:
    """Each event has its own alarm; a new event has a grace time, an unmeasured one no alarm."""
    for event_id, status, percent in (
        ("well", "active", 71.0),
        ("ill", "active", 70.0),
        ("unknown", "active", None),
        ("to-come", "scheduled", 0.0),
    ):
        site.execute(EVENT, event_id, status, START, at(7_200), START, START, START)
        site.execute(PROGRESS, event_id, percent)
    assert site.evaluate(299) == 0
    assert site.evaluate(300) == 1
    assert site.open_alarms() == [("event_underdelivers", "ill")]
    [alarm] = site.get("/api/alarms", kind="event_underdelivers")
    assert (alarm["value"], alarm["detail"]) == (30.0, "Event 'ill' delivers 70 % of its request.")
    site.execute(PROGRESS, "ill", None)
    assert site.evaluate(1_000) == 0
    site.execute("INSERT INTO event_requests VALUES ('well', %s, 50)", at(1_000))
    site.execute(PROGRESS, "well", 10)
    assert site.evaluate(1_299) == 0
    assert site.evaluate(1_300) == 1
    site.execute("UPDATE events SET status = 'completed', ended_at = now()")
    assert [site.evaluate(second) for second in (1_310, 1_429, 1_430)] == [0, 0, 2]
    assert site.open_alarms() == []


def test_clocks_of_devices_are_wrong(site: Site) -> None:
    """Behind by an hour, or so far ahead that all is refused; a replay is no wrong clock."""
    site.limits = AlarmLimits(clocks_percent=20, refused_per_minute=1e6)
    right = [f"ven-{number}" for number in range(8)]
    for second in (0, 5, 10):
        site.report(second, *right)
        site.report(second, "behind", behind_s=3_600)
    site.write(
        Received(
            "oadr/meter/ven-0",
            json.dumps({"timestamp": at(number - 7_200).timestamp(), "usedPowerKw": 1}).encode(),
            at(11),
        )
        for number in range(0, 3_000, 30)
    )
    assert site.evaluate(12) == 0
    assert next(each for each in site.get("/api/alarms/conditions") if each["kind"] == "clocks_off")[
        "value"
    ] == pytest.approx(100 / 9, abs=1e-3)
    site.report(20, "ahead", behind_s=-3_600)
    assert site.evaluate(21) == 1
    [alarm] = site.get("/api/alarms")
    assert (alarm["kind"], alarm["value"]) == ("clocks_off", pytest.approx(200 / 9, abs=1e-3))
    assert "ahead, behind" in alarm["detail"]
    site.limits = AlarmLimits(clocks_percent=20, ingest_silent_s=1e6, refused_per_minute=1e6)
    site.report(1_300, *right, "behind", "ahead")
    assert [site.evaluate(second) for second in (1_301, 1_421)] == [0, 1]


def test_a_clock_is_not_judged_by_reports_of_intervals(site: Site) -> None:
    """What OpenADR reports of an interval has the time of its start, and comes after its end."""
    site.limits = AlarmLimits(clocks_percent=20, refused_per_minute=1e6)
    for second in (0, 300, 600):
        site.report(second, "slow", behind_s=300)
    site.execute(
        "INSERT INTO openadr_vens (object_id, client_id, body, created_at, modified_at, ven_name, ven_id,"
        " is_registered_here) VALUES ('1', 'utility', '{}', now(), now(), 'slow', 'slow', true)"
    )
    assert site.evaluate(601) == 0
    site.execute("UPDATE openadr_vens SET is_registered_here = false")
    assert site.evaluate(602) == 1


def test_a_disk_and_the_database_fill_up(site: Site, tmp_path: Path) -> None:
    size_bytes = value(site.connection, "SELECT pg_database_size(current_database())")
    site.limits = AlarmLimits(database_gb=size_bytes * 1.1 / 1e9, disk_path=str(tmp_path), disk_percent=100)
    assert site.evaluate(0) == 0
    site.limits = AlarmLimits(database_gb=size_bytes * 1.1 / 1e9)
    assert site.evaluate(1) == 1
    site.limits = AlarmLimits(database_gb=size_bytes / 1e6, disk_path=str(tmp_path), disk_percent=1e-6)
    assert site.evaluate(2) == 1
    assert site.open_alarms() == [("disk_full", str(tmp_path)), ("disk_full", "database")]


def test_ingest_falls_silent(site: Site) -> None:
    """Neither presence nor people count; a message that is refused does."""
    site.report(0, "a")
    site.judge_presence(61)
    assert site.evaluate(299, only("ingest_silent")) == 0
    assert site.evaluate(300, only("ingest_silent")) == 1
    assert site.open_alarms() == [("ingest_silent", "")]
    site.write([Received("oadr/meter/a", b"{", at(310))])
    assert [site.evaluate(second, only("ingest_silent")) for second in (311, 431)] == [0, 1]


def only(kind: AlarmKind) -> Mapping[AlarmKind, Measure]:
    return {kind: measures(AlarmLimits(), {})[kind]}


class World:
    """What a scheduler runs, and whether it fails."""

    def __init__(self, engine: Engine) -> None:
        self.now = START
        self.is_broken = False
        self.runner = Runner(engine, lambda: self.now, holder="tests")
        self.job = Job("work", 60, "", (self.step,))

    def step(self, _connection: Connection, _now: datetime) -> int:
        if self.is_broken:
            raise RuntimeError("broken")
        return 0

    def attempt(self, second: float) -> None:
        self.now = at(second)
        self.runner.attempt(self.job)


def test_a_job_that_fails_or_stands_still_is_late(site: Site, engine: Engine) -> None:
    world = World(engine)
    site.periods_s = {"work": 60.0}
    for second in (0.0, 60.0, 120.0):
        world.attempt(second)
        assert site.evaluate(second) == 0
    world.is_broken = True
    late_at = 120 + 60 + RECORDED_EVERY_S + 120
    for second in (180.0, 250.0, late_at - 1):
        world.attempt(second)
        assert site.evaluate(second) == 0
    assert site.evaluate(late_at) == 1
    [alarm] = site.get("/api/alarms")
    assert (alarm["kind"], alarm["detail"]) == ("jobs_late", "Late: work by 120 s.")
    world.is_broken = False
    world.attempt(late_at + 120)
    assert site.evaluate(late_at + 121) == 0
    world.attempt(late_at + 181)
    assert site.evaluate(late_at + 241) == 1


def test_a_job_that_never_succeeds_is_late_too(site: Site, engine: Engine) -> None:
    world = World(engine)
    site.periods_s = {"work": 60.0}
    world.is_broken = True
    world.attempt(0)
    assert site.evaluate(190) == 0
    assert site.evaluate(200) == 1


def test_successes_are_not_written_in_each_cycle(site: Site, engine: Engine) -> None:
    world = World(engine)
    succeeded = "SELECT succeeded_at FROM job_leases"
    world.job = Job("work", 0.5, "", (world.step,))
    for second, expected in ((1.0, 1.0), (1.5, 1.0), (15.5, 1.0), (16.0, 16.0)):
        world.attempt(second)
        assert value(site.connection, succeeded) == at(expected)
        site.connection.rollback()


def test_a_condition_that_fails_does_not_stop_the_others(site: Site) -> None:
    """It keeps its alarm and its last time, and logs its error; also when a statement fails."""
    site.report(0, "a")
    assert site.evaluate(300, only("ingest_silent")) == 1
    site.execute("ALTER TABLE ingest_batches RENAME COLUMN worker TO workman")
    site.execute("ALTER TABLE skewed_reports RENAME TO elsewhere")
    site.execute(EVENT, "e", "active", START, at(7_200), START, START, START)
    site.execute(PROGRESS, "e", 0)
    assert site.evaluate(1_000) == 1
    assert site.open_alarms() == [("event_underdelivers", "e"), ("ingest_silent", "")]
    conditions = {each["kind"]: each for each in site.get("/api/alarms/conditions")}
    failed = {kind for kind, each in conditions.items() if each["error"]}
    assert failed == {"ingest_silent", "clocks_off"}
    assert conditions["ingest_silent"]["evaluatedAt"] == "2026-03-01T12:05:00Z"
    assert conditions["clocks_off"]["evaluatedAt"] is None
    assert conditions["event_underdelivers"]["evaluatedAt"] == "2026-03-01T12:16:40Z"
    site.execute("ALTER TABLE ingest_batches RENAME COLUMN workman TO worker")
    site.evaluate(1_010)
    conditions = {each["kind"]: each for each in site.get("/api/alarms/conditions")}
    assert conditions["ingest_silent"]["error"] is None


def test_a_slow_condition_does_not_hold_up_the_others(site: Site) -> None:
    def slow(connection: Connection, _now: datetime, _open: object) -> list[AlarmReading]:
        connection.execute(text("SELECT pg_sleep(60)"))
        return []

    def high(_connection: Connection, _now: datetime, _open: object) -> list[AlarmReading]:
        return [AlarmReading(1e9)]

    found = site.evaluate(
        0, {"clocks_off": slow, "ingest_silent": high}, longest_statement=timedelta(milliseconds=50)
    )
    assert found == 1
    assert site.open_alarms() == [("ingest_silent", "")]
    errors = [each["error"] for each in site.get("/api/alarms/conditions")]
    assert "QueryCanceled" in str(errors) or "canceling statement" in str(errors)


def test_two_schedulers_at_once_raise_one_alarm(site: Site) -> None:
    barrier = threading.Barrier(2)

    def evaluate(_: int) -> int:
        barrier.wait(10)
        return site.evaluate(0, {"ingest_silent": lambda *_: [AlarmReading(1e9)]})

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(evaluate, range(2))) == [0, 1]
    assert rows(site.connection, ALARMS) == [("ingest_silent", "", True)]


def test_alarms_are_listed_filtered_and_paged(site: Site) -> None:
    for number in range(5):
        site.execute(
            "INSERT INTO alarms (kind, subject, detail, value, worst_value, threshold, raised_at, cleared_at,"
            " acknowledged_at) VALUES (%s, %s, '', 1, 2, 1, %s, %s, %s)",
            "disk_full" if number % 2 else "jobs_late",
            str(number),
            at(60 * number),
            at(1_000) if number < 2 else None,
            at(500) if number == 4 else None,
        )

    def subjects(**parameters: str) -> str:
        return "".join(alarm["subject"] for alarm in site.get("/api/alarms", **parameters))

    assert subjects() == "43210"
    assert subjects(state="open") == "432"
    assert subjects(state="cleared") == "10"
    assert subjects(kind="disk_full") == "31"
    assert subjects(acknowledged="true") == "4"
    assert subjects(acknowledged="false", state="open") == "32"
    assert subjects(start="2026-03-01T12:01:00Z", end="2026-03-01T12:03:00Z") == "321"
    link, seen = "/api/alarms?limit=1&state=open&kind=jobs_late", []
    while link:
        response = site.client.simulate_get(*link.split("?")[:1], query_string=link.split("?")[1])
        seen += [alarm["subject"] for alarm in response.json]
        link = response.headers.get("link", "").partition(">")[0].lstrip("<")
    assert seen == ["4", "2"]
    for wrong in ({"state": "past"}, {"kind": "fire"}, {"acknowledged": "1"}, {"after": "x"}, {"start": "x"}):
        response = site.client.simulate_get("/api/alarms", params=wrong)
        assert response.status_code == 400
        assert next(iter(wrong)) in response.json["detail"]


def test_an_alarm_is_acknowledged_in_the_name_of_the_key(site: Site, engine: Engine) -> None:
    """Whoever was first stays; a viewer may not."""
    assert site.evaluate(0, {"ingest_silent": lambda *_: [AlarmReading(400.0)]}) == 1
    [alarm] = site.get("/api/alarms")
    assert (alarm["acknowledgedAt"], alarm["acknowledgedBy"]) == (None, None)
    clock = [START]
    client = testing.TestClient(
        create_app(engine, lambda: clock[0], [], AppOptions(policy=Policy(needs_keys=True)))
    )
    keys = KeyStore(engine)
    first, second = (
        {"X-API-Key": keys.create(name, "operator", None, START)} for name in ("night shift", "day shift")
    )
    viewer = {"X-API-Key": keys.create("screen", "viewer", None, START)}
    path = f"/api/alarms/{alarm['id']}/acknowledge"
    assert client.simulate_post(path).status_code == 401
    assert client.simulate_post(path, headers=viewer).status_code == 403
    made = client.simulate_post(path, headers=first)
    assert (made.status_code, made.json["acknowledgedBy"]) == (200, "night shift")
    assert made.json == {**alarm, "acknowledgedAt": "2026-03-01T12:00:00Z", "acknowledgedBy": "night shift"}
    clock[0] = at(60)
    assert client.simulate_post(path, headers=second).json == made.json
    assert client.simulate_get(f"/api/alarms/{alarm['id']}", headers=viewer).json == made.json
    for unknown in ("999", "x", "9" * 30):
        answer = client.simulate_post(f"/api/alarms/{unknown}/acknowledge", headers=first)
        assert (answer.status_code, answer.json["detail"]) == (404, f"There is no alarm {unknown!r}.")


def test_streams_tell_each_change_of_an_alarm_once(site: Site, engine: Engine) -> None:
    """Raised, acknowledged, cleared; not each new value."""

    def measure(value: float) -> Mapping[AlarmKind, Measure]:
        return {"ingest_silent": lambda *_: [AlarmReading(value, f"{value:g}")]}

    site.evaluate(0, measure(400))
    site.evaluate(10, measure(410))
    [alarm] = site.get("/api/alarms")
    for _ in range(2):
        assert site.client.simulate_post(f"/api/alarms/{alarm['id']}/acknowledge").status_code == 200
    [alarm] = site.get("/api/alarms")
    site.evaluate(20, measure(0))
    site.evaluate(140, measure(0))
    changes = ChangeLog(engine)
    changes.number()
    told = [change.message.decode() for change in changes.after(0, 100)]
    assert all("\nevent: alarm\n" in each for each in told)
    sent = [json.loads(each.partition("data: ")[2]) for each in told]
    assert [(each["value"], each["acknowledgedBy"], each["clearedAt"]) for each in sent] == [
        (400.0, None, None),
        (410.0, "anonymous", None),
        (0.0, "anonymous", "2026-03-01T12:02:20Z"),
    ]
    assert sent[1] == alarm
    assert sent[2] == site.get(f"/api/alarms/{alarm['id']}")


def test_old_alarms_are_forgotten_and_open_ones_stay(site: Site, engine: Engine) -> None:
    measure: Mapping[AlarmKind, Measure] = {"ingest_silent": lambda *_: [AlarmReading(400.0)]}
    site.evaluate(0, measure)
    site.execute("UPDATE alarms SET cleared_at = %s", at(60))
    site.evaluate(70, measure)
    with engine.begin() as connection:
        assert trim_alarms(connection, at(60) + timedelta(days=366), timedelta(days=366)) == 0
        assert trim_alarms(connection, at(61) + timedelta(days=366), timedelta(days=366)) == 1
    assert site.open_alarms() == [("ingest_silent", "")]


def test_the_schedule_evaluates_them(site: Site, engine: Engine) -> None:
    """With the thresholds of the settings; a removed kind has no condition any more."""
    site.report(0, "a")
    site.execute("INSERT INTO alarm_conditions (kind, threshold, clears_below) VALUES ('of old', 1, 1)")
    jobs = schedule(Cadence.model_validate({"ALARM_INGEST_SILENT_S": 7}))
    job = next(job for job in jobs if job.name == "alarms")
    assert Runner(engine, lambda: at(6)).run(job) == 0
    assert Runner(engine, lambda: at(7)).run(job) == 1
    samples = {
        (sample.name, sample.labels["kind"]): sample.value
        for family in AlarmConditions(engine).collect()
        for sample in family.samples
    }
    assert samples["gridgate_jobs_alarm_threshold", "ingest_silent"] == 7
    assert samples["gridgate_jobs_alarm_value", "ingest_silent"] == 7
    assert samples["gridgate_jobs_alarms_open", "ingest_silent"] == 1
    assert samples["gridgate_jobs_alarm_evaluated_timestamp_seconds", "disk_full"] == at(7).timestamp()
    assert {kind for _, kind in samples} == set(ALARM_KINDS)


def test_leases_and_streams_from_before_0029(database_url: str, connection: psycopg.Connection) -> None:
    """Jobs count as successful when they are migrated; streams of the old version know no alarms."""
    migrate(database_url, "0018", "downgrade")
    connection.execute(
        "INSERT INTO job_leases (job, holder, due_at, expires_at) VALUES ('history', 'h', %(at)s, %(at)s)",
        {"at": THREE},
    )
    connection.commit()
    migrate(database_url)
    assert rows(connection, "SELECT now() - succeeded_at < interval '1 minute' FROM job_leases") == [(True,)]
    connection.execute(
        "INSERT INTO alarms (kind, subject, detail, value, worst_value, threshold, raised_at)"
        " VALUES ('disk_full', '', '', 1, 1, 1, now())"
    )
    assert rows(connection, "SELECT kind, data->>'kind' FROM live_changes") == [("alarm", "disk_full")]
    connection.commit()
    migrate(database_url, "0018", "downgrade")
    assert rows(connection, "SELECT count(*) FROM live_changes") == [(0,)]
    connection.commit()
    migrate(database_url)
