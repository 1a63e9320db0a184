"""A day of OpenADR: a utility asks, homes are notified, obey and report, one does not, and all is settled.

Real HTTP, PostgreSQL, ingest, jobs, webhooks, and a broker; only the clock is moved. The homes are steady, so
what they would have used is known, and what was measured must be what they delivered.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from ipaddress import ip_network
from itertools import islice
from statistics import fmean
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from jobs.webhooks.policy import WebhookPolicy
from jobs.webhooks.sender import WebhookSender
from local.fleet.homes.behaviour import ResponseBehaviour
from local.fleet.homes.household import Household
from local.fleet.telemetry.reports import FleetSettings, Reporter
from local.openadr.client import VtnError
from local.openadr.ven import SimulatedVen
from schemas.openadr import OpenAdrReport, OpenAdrVen
from tests.integration.openadr_clients import OpenAdrClient, Vtn
from tests.integration.openadr_site import OBEDIENT, OpenAdrSite, running_site
from tests.integration.published import rows, until
from tests.integration.receiver import Receiver
from tests.integration.test_openadr_mqtt import BROKER, Listen, broker, listen, notifier, topics_of

__all__ = ["broker", "listen", "notifier"]

pytestmark = pytest.mark.thorough

LOOPBACK = (ip_network("127.0.0.0/8"),)
STEP, STEP_S = timedelta(minutes=5), 300
MORNING = datetime(2026, 1, 15, 16, 0, tzinfo=UTC)
"""A Thursday, with five working days in the week before."""
START, CHANGED_AT = MORNING + timedelta(hours=1), MORNING + timedelta(minutes=90)
END = START + timedelta(hours=1)
SETTLED_AT = END + timedelta(minutes=30)
PAST_HOURS = 7 * 24 + 2
FIRST_KW, SECOND_KW = -2.4, -1.2
RELATIVE = "DISPATCH_SETPOINT_RELATIVE"
PROMPT_S = 20
"""Meters of these homes begin an interval so soon after a multiple of five minutes."""

EXACT_KWH = 0.03
"""Ramps, and the seconds of `PROMPT_S`."""


def suitable() -> Iterator[int]:
    """Numbers of homes with a prompt meter that could shed 1 kW until the end of the event."""
    for number in range(1, 10_000):
        home = Household(4, number, is_steady=True, prefix="openadr")
        if Reporter(home, FleetSettings(STEP_S)).next_after(-1) < PROMPT_S and all(
            sum(load.capability_kw for load in home.read(at).loads) >= 1
            for at in range(int(START.timestamp()) - 3 * STEP_S, int(END.timestamp()), STEP_S)
        ):
            yield number


@dataclass
class Home:
    """A simulated VEN, and what it knows that it delivered, kWh."""

    ven: SimulatedVen
    delivered_kwh: float = 0.0

    @property
    def name(self) -> str:
        return self.ven.home.ven_id

    def note(self, begin: float, end: float) -> None:
        """Add what it delivers in a time in which nothing changes."""
        moments = [begin + (end - begin) * (number + 0.5) / 30 for number in range(30)]
        readings = [self.ven.home.read(ts, self.ven.state) for ts in moments]
        self.delivered_kwh += (
            fmean(each.natural_kw - each.used_kw for each in readings) * (end - begin) / 3_600
        )


@dataclass
class Day:
    """The site, its homes, and what receivers of webhooks were sent."""

    site: OpenAdrSite
    sender: WebhookSender
    receivers: dict[str, Receiver]
    homes: list[Home] = field(default_factory=list)
    webhooks: dict[str, str] = field(default_factory=dict)

    @property
    def utility(self) -> OpenAdrClient:
        return self.site.utility

    def add_home(self, number: int, behaviour: ResponseBehaviour = OBEDIENT) -> Home:
        settings = FleetSettings(STEP_S, behaviour, is_steady=True)
        self.homes.append(Home(self.site.home(number, settings=settings, backfill_hours=PAST_HOURS)))
        return self.homes[-1]

    def live_until(self, end: datetime) -> None:
        """Let homes act, ingest store and jobs run every five minutes."""
        while self.site.vtn.clock.now < end:
            at = self.site.vtn.clock.now + STEP
            self.site.move_to(at)
            for home in self.homes:
                if START < at <= END:
                    home.note(at.timestamp() - STEP_S, at.timestamp())
                self._act(home)
            self.site.ingest()
            self.site.run_jobs()

    def _act(self, home: Home) -> None:
        """Until nothing is due: the past takes several reports."""
        while home.ven.act(self.site.now + PROMPT_S) <= self.site.now + PROMPT_S:
            pass

    def subscribe(self, name: str, client: OpenAdrClient, *objects: str) -> None:
        operations = {"objects": objects, "operations": ["CREATE", "UPDATE", "DELETE"]}
        part = {**operations, "callbackUrl": self.receivers[name].url, "bearerToken": f"of {name}"}
        made = client.make("/subscriptions", clientName=name, objectOperations=[part])
        self.webhooks[name] = f"openadr-{made['id']}-0"

    def notified(self, name: str) -> list[tuple[str, str, str]]:
        """What a receiver has been sent since the last time: type, operation and id of the object."""
        receiver = self.receivers[name]
        before = len(receiver.messages)
        self.sender.drain(self.webhooks[name])
        assert {each["Authorization"] for each in receiver.headers} <= {f"Bearer of {name}"}
        return [
            (each["objectType"], each["operation"], each["object"]["id"])
            for each in receiver.messages[before:]
        ]


@pytest.fixture
def day(engine: Engine, database_url: str) -> Iterator[Day]:
    receivers = {"utility": Receiver(), "home": Receiver()}
    with running_site(engine, database_url, Vtn(engine, networks=LOOPBACK, mqtt=BROKER), MORNING) as site:
        policy = WebhookPolicy(LOOPBACK, timeout_s=5)
        sender = WebhookSender(engine, site.vtn.clock, "tests", policy, draw=lambda: 1.0)
        yield Day(site, sender, receivers)
    for receiver in receivers.values():
        receiver.close()


def event_body(program: str, kw: float) -> dict[str, Any]:
    requested = ("USAGE", "LOAD_SHED_DELTA_AVAILABLE", "BASELINE", "DELTA_USAGE", "DATA_QUALITY")
    return {
        "programID": program,
        "eventName": "evening peak",
        "targets": ["north"],
        "intervalPeriod": {"start": START.isoformat(), "duration": "PT1H"},
        "intervals": [{"id": 0, "payloads": [{"type": RELATIVE, "values": [kw]}]}],
        "reportDescriptors": [{"payloadType": each} for each in requested],
    }


def metering_body(program: str) -> dict[str, Any]:
    always = {"start": "2020-01-01T00:00:00Z", "duration": "P9999Y"}
    requested = (
        "USAGE",
        "LOAD_SHED_DELTA_AVAILABLE",
        "STORAGE_CHARGE_LEVEL",
    )  # so none can say that it opts out
    descriptors = [{"payloadType": each} for each in requested]
    return {
        "programID": program,
        "intervalPeriod": always,
        "intervals": [],
        "reportDescriptors": descriptors,
    }


def own_kw(home: Home, event: str) -> float | None:
    """What a home follows of an event."""
    shares = {each.event_id: each.requested_kw for each in home.ven.state.events}
    return shares.get(event)


def figures(report: dict[str, Any]) -> dict[str, Any]:
    [resource] = report["resources"]
    [interval] = resource["intervals"]
    return {each["type"]: each["values"][0] for each in interval["payloads"]}


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.mark.usefixtures("notifier")
def test_a_day(day: Day, connection: psycopg.Connection, listen: Listen) -> None:
    utility, vtn = day.utility, day.site.vtn
    program = utility.make("/programs", programName="winter peaks")["id"]
    utility.make("/events", **metering_body(program))
    numbers = list(islice(suitable(), 3))
    north, by_resource = (day.add_home(number) for number in numbers[:2])
    refusing = day.add_home(numbers[2], ResponseBehaviour(opt_out=2.0, mute=0))
    for home, targets in ((north, ["north"]), (by_resource, []), (refusing, ["north"])):
        day.site.enrol(home.ven, *targets)
    day.live_until(MORNING + STEP)
    grant_by_resource(utility, by_resource, "north")
    day.subscribe("utility", utility, "EVENT", "REPORT")
    listener, ven_id = listener_of(vtn, utility, "north")
    day.subscribe("home", listener, "EVENT")
    by_mqtt = listen("home", topics_of(listener, f"/vens/{ven_id}/events")["ALL"])
    day.live_until(START - 6 * STEP)

    event = utility.make("/events", **event_body(program, FIRST_KW))["id"]
    assert day.notified("home") == [("EVENT", "CREATE", event)]
    assert ("EVENT", "CREATE", event) in day.notified("utility")
    day.live_until(START + 2 * STEP)
    first_kw = {home.name: own_kw(home, event) for home in (north, by_resource)}
    assert all(first_kw.values())
    assert sum(kw for kw in first_kw.values() if kw) < -FIRST_KW  # the rest is of the home that refuses
    assert own_kw(refusing, event) is None

    day.live_until(CHANGED_AT)
    utility.put(f"/events/{event}", **event_body(program, SECOND_KW))
    assert day.notified("home") == [("EVENT", "UPDATE", event)]
    until(lambda: len(by_mqtt.messages) >= 2)
    heard = [(message["operation"], message["object"]["id"]) for _, message in by_mqtt.messages]
    assert heard == [("CREATE", event), ("UPDATE", event)]
    misbehave(day, refusing, north, event, connection)
    day.live_until(CHANGED_AT + 2 * STEP)
    for home in (north, by_resource):
        assert own_kw(home, event) == pytest.approx((first_kw[home.name] or 0) / 2, abs=0.1)
    day.live_until(SETTLED_AT)

    settled = day.site.ask(f"/events/openadr-{event}/performance")
    assert settled["provisional"] is False
    measured = {each["venId"]: each for each in settled["vens"]}
    assert measured.keys() == {home.name for home in day.homes}
    for home in day.homes:
        assert measured[home.name]["deliveredKwh"] == pytest.approx(home.delivered_kwh, abs=EXACT_KWH)
        assert measured[home.name]["daysUsed"] == 5
    assert refusing.delivered_kwh == 0
    assert min(north.delivered_kwh, by_resource.delivered_kwh) > 0.1
    assert compare(utility.get(f"/reports?eventID={event}&clientName=gridgate"), settled) == {
        "AGGREGATED_REPORT",
        *measured,
    }
    own = north.ven._vtn.read(f"/reports?eventID={event}&clientName=gridgate", list[OpenAdrReport])
    assert [each.resources[0].resource_name for each in own] == [north.name]
    kinds = {(kind, operation) for kind, operation, _ in day.notified("utility")}
    assert kinds == {("EVENT", "UPDATE"), ("REPORT", "CREATE")}


def grant_by_resource(utility: OpenAdrClient, home: Home, target: str) -> None:
    """A target of a resource is one of its VEN."""
    resource = next(each for each in utility.get("/resources") if each["clientID"] == home.name)
    kept = {name: resource[name] for name in ("resourceName", "venID", "clientID", "attributes")}
    changed = utility.put(
        f"/resources/{resource['id']}", objectType="BL_RESOURCE_REQUEST", targets=[target], **kept
    )
    assert changed["targets"] == [target]


def listener_of(vtn: Vtn, utility: OpenAdrClient, target: str) -> tuple[OpenAdrClient, str]:
    """A client of a VEN that only listens, since it has never reported; and the id of its VEN."""
    client = vtn.client("home", "ven")
    enrolment = {"objectType": "BL_VEN_REQUEST", "venName": "listener", "clientID": "home"}
    return client, str(utility.make("/vens", **enrolment, targets=[target])["id"])


def misbehave(day: Day, home: Home, other: Home, event: str, connection: psycopg.Connection) -> None:
    """A home reports other values than before, and of another VEN's loads, and reads what is another's."""
    client = home.ven._vtn
    begin = day.site.vtn.clock.now - 2 * STEP
    at = Reporter(home.ven.home, FleetSettings(STEP_S)).next_after(begin.timestamp() - 1)
    period = {"start": datetime.fromtimestamp(at, UTC).isoformat(), "duration": "PT5M"}
    interval = {"id": 0, "intervalPeriod": period, "payloads": [{"type": "USAGE", "values": [0.001]}]}
    for name in ("AGGREGATED_REPORT", other.name):
        resources = [{"resourceName": name, "intervals": [interval]}]
        body = {"eventID": event, "clientName": other.name, "resources": resources}
        client.write("POST", "/reports", body, OpenAdrReport)
    day.site.ingest()
    refused = rows(connection, "SELECT DISTINCT reason, topic FROM rejected_messages")
    assert refused == [("conflict", f"oadr/meter/{home.name}")]
    [theirs] = [each for each in day.utility.get("/vens") if each["clientID"] == other.name]
    assert [each.client_id for each in client.read("/vens", list[OpenAdrVen])] == [home.name]
    with pytest.raises(VtnError) as hidden:
        client.read(f"/vens/{theirs['id']}", OpenAdrVen)
    assert hidden.value.status == HTTPStatus.NOT_FOUND


def compare(reports: list[dict[str, Any]], settled: dict[str, Any]) -> set[str]:
    """The reports have the figures of our own API; answers whom they are of."""
    hours = (END - START) / timedelta(hours=1)
    ours = {"AGGREGATED_REPORT": settled["portfolio"], **{each["venId"]: each for each in settled["vens"]}}
    for report in reports:
        of_one, payloads = ours[report["resources"][0]["resourceName"]], figures(report)
        assert payloads["BASELINE"] == pytest.approx(of_one["baselineKw"] * hours, abs=0.002)
        assert payloads["USAGE"] == pytest.approx(of_one["actualKw"] * hours, abs=0.002)
        assert payloads["DELTA_USAGE"] == pytest.approx(-of_one["deliveredKwh"], abs=0.002)
        assert payloads["DATA_QUALITY"] in {"OK", "ESTIMATED"}
        assert "10-of-10-adjusted" in report["reportName"]
    return {report["resources"][0]["resourceName"] for report in reports}
