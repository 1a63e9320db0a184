"""Simulated VENs that speak OpenADR, against the running service: they join, obey, report, and back off."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine

from local.fleet.homes.behaviour import ResponseBehaviour
from local.fleet.homes.household import Household
from local.fleet.telemetry.reports import FleetSettings
from local.openadr.client import TryLaterError
from local.openadr.credentials import UTILITY, CredentialsError, make_credentials, read_credentials
from local.openadr.fleet import OpenAdrFleet, Turn
from local.openadr.utility import TARGET, Utility
from local.openadr.ven import SimulatedVen
from tests.integration.openadr_clients import NOW
from tests.integration.openadr_site import OBEDIENT, OpenAdrSite, running_site
from tests.integration.published import rows, until, value

MINUTE = timedelta(minutes=1)
SETTINGS = FleetSettings(60, OBEDIENT, is_steady=True)
RELATIVE = "DISPATCH_SETPOINT_RELATIVE"
REJECTED = "SELECT reason, detail FROM rejected_messages"
TELEMETRY = "SELECT count(*) FROM ven_telemetry"


@pytest.fixture
def site(engine: Engine, database_url: str) -> Iterator[OpenAdrSite]:
    with running_site(engine, database_url) as site:
        yield site


@pytest.fixture
def utility(site: OpenAdrSite) -> Utility:
    """The one in the box, which requests measurements."""
    return Utility(site.client("simulated-utility", "bl"))


ABLE = next(
    number
    for number in range(1, 50)
    if all(
        sum(
            load.capability_kw
            for load in Household(4, number, is_steady=True, prefix="openadr").read(at).loads
        )
        > 0.6
        for at in range(int(NOW.timestamp()), int(NOW.timestamp()) + 3_600, 300)
    )
)
"""A home that can shed as much all the time."""


def live(site: OpenAdrSite, *homes: SimulatedVen, minutes: int) -> None:
    """Let homes act at each minute."""
    for _ in range(minutes):
        site.move_to(site.vtn.clock.now + MINUTE)
        for home in homes:
            home.act(site.now)
    site.ingest()
    site.run_jobs()


def live_with_jobs(site: OpenAdrSite, home: SimulatedVen, minutes: int) -> None:
    """The same, with ingest and jobs after each minute, so that the VEN does not seem silent."""
    for _ in range(minutes):
        live(site, home, minutes=1)


def ask_for(site: OpenAdrSite, kw: float, minutes: int, **more: Any) -> str:
    """An event that starts in a minute; its id."""
    [program] = site.utility.get("/programs")
    period = {"start": (site.vtn.clock.now + MINUTE).isoformat(), "duration": f"PT{minutes}M"}
    intervals = [{"id": 0, "payloads": [{"type": RELATIVE, "values": [kw]}]}]
    body = {"programID": program["id"], "intervalPeriod": period, "intervals": intervals}
    descriptors = [{"payloadType": "USAGE"}, {"payloadType": "LOAD_SHED_DELTA_AVAILABLE"}]
    return str(site.utility.make("/events", **body, reportDescriptors=descriptors, **more)["id"])


def test_a_home_joins_reports_and_is_online(
    site: OpenAdrSite, utility: Utility, connection: psycopg.Connection
) -> None:
    home = site.home(1, settings=SETTINGS)
    utility.prepare([home.home.ven_id])
    utility.prepare([home.home.ven_id])  # idempotent
    [ven] = site.utility.get("/vens")
    assert (ven["venName"], ven["targets"]) == (home.home.ven_id, [TARGET])
    live(site, home, minutes=3)
    resources = {each["resourceName"] for each in site.utility.get("/resources")}
    assert resources == {load.load_id for load in home.home.loads}
    assert rows(connection, REJECTED) == []
    assert value(connection, TELEMETRY) == 2  # since it joined
    shown = site.ask(f"/vens/{home.home.ven_id}")
    reading = home.home.read(site.now - 61)
    assert shown["status"] == "online"
    assert shown["metrics"]["currentPowerKw"] == pytest.approx(reading.used_kw, abs=0.01)
    assert shown["metrics"]["shedAvailabilityKw"] == pytest.approx(
        sum(load.capability_kw for load in reading.loads), abs=0.01
    )


def test_a_home_enrols_itself_where_no_utility_has(site: OpenAdrSite) -> None:
    home = site.home(1, settings=SETTINGS)
    home.act(site.now)
    [ven] = site.utility.get("/vens")
    assert (ven["venName"], ven["clientID"]) == (home.home.ven_id, home.home.ven_id)


def test_a_home_reports_its_past_once(
    site: OpenAdrSite, utility: Utility, connection: psycopg.Connection
) -> None:
    first = site.home(1, settings=SETTINGS, backfill_hours=6)
    utility.prepare([first.home.ven_id])
    live(site, first, minutes=1)
    first.act(site.now)
    site.ingest()
    assert value(connection, TELEMETRY) == pytest.approx(6 * 60, abs=1)
    oldest = value(connection, "SELECT min(ts) FROM ven_telemetry")
    assert NOW - timedelta(hours=6) <= oldest <= NOW - timedelta(hours=6) + 2 * MINUTE
    before = reports_made(site)
    restarted = SimulatedVen(first._live, first._past, first._vtn, first._settings)
    live(site, restarted, minutes=3)
    assert reports_made(site) == before + 2
    assert rows(connection, REJECTED) == []


def reports_made(site: OpenAdrSite) -> int:
    return site.gate.answers.count(("POST /openadr3/3.1.1/reports", 201))


@pytest.mark.thorough
def test_a_home_obeys_a_change_and_the_end_of_an_event(
    site: OpenAdrSite, utility: Utility, connection: psycopg.Connection
) -> None:
    """Shared out, it sees its own kW; deleted, it lets go."""
    home = site.home(ABLE, settings=SETTINGS)
    utility.prepare([home.home.ven_id])
    live_with_jobs(site, home, minutes=6)
    assert site.ask(f"/vens/{home.home.ven_id}")["status"] == "online"
    event = ask_for(site, -0.5, minutes=60, targets=[TARGET])
    live_with_jobs(site, home, minutes=1)
    assert shed_kw(site, home) == 0
    live_with_jobs(site, home, minutes=8)
    assert shed_kw(site, home) == pytest.approx(0.5, abs=0.01)
    [telemetry] = [each for each in site.ask("/vens/summary") if each["id"] == home.home.ven_id]
    newest = value(connection, "SELECT max(ts) FROM ven_telemetry").timestamp()
    assert telemetry["currentPower"] == pytest.approx(home.home.read(newest).used_kw - 0.5, abs=0.02)
    body = site.utility.get(f"/events/{event}")
    body["intervals"][0]["payloads"][0]["values"] = [-0.2]
    site.utility.put(f"/events/{event}", **body)
    live_with_jobs(site, home, minutes=3)
    assert shed_kw(site, home) == pytest.approx(0.2, abs=0.01)
    site.utility.delete(f"/events/{event}")
    live(site, home, minutes=2)
    assert shed_kw(site, home) == 0


def shed_kw(site: OpenAdrSite, home: SimulatedVen) -> float:
    return home.home.read(site.now - 1, home.state).shed_kw


@pytest.mark.thorough
def test_a_home_that_opts_out_sheds_nothing(site: OpenAdrSite, utility: Utility) -> None:
    refusing = ResponseBehaviour(opt_out=2.0, mute=0)
    home = site.home(ABLE, settings=FleetSettings(60, refusing, is_steady=True))
    utility.prepare([home.home.ven_id])
    live_with_jobs(site, home, minutes=6)
    assert site.ask(f"/vens/{home.home.ven_id}")["status"] == "online"
    ask_for(site, -0.5, minutes=30, targets=[TARGET])
    live_with_jobs(site, home, minutes=5)
    assert shed_kw(site, home) == 0
    loads = site.ask(f"/vens/{home.home.ven_id}/loads")
    assert {load["enabled"] for load in loads} == {False}
    live_with_jobs(site, home, minutes=30)
    assert {load["enabled"] for load in site.ask(f"/vens/{home.home.ven_id}/loads")} == {True}


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Service Unavailable"])
def test_a_home_waits_as_it_is_asked_to_and_loses_nothing(
    site: OpenAdrSite, utility: Utility, connection: psycopg.Connection, status: str
) -> None:
    """The other home goes on."""
    waiting = site.home(1, settings=SETTINGS, prefix="/away")
    other = site.home(2, settings=SETTINGS)
    utility.prepare(home.home.ven_id for home in (waiting, other))
    live(site, waiting, other, minutes=2)
    site.gate.status = status
    site.move_to(site.vtn.clock.now + 3 * MINUTE)
    with pytest.raises(TryLaterError) as busy:
        waiting.act(site.now)
    assert busy.value.after_s == 7
    turns = [Turn(home, lambda: site.now) for home in (waiting, other)]
    assert site.now + 7 < turns[0].take() <= site.now + 8
    assert turns[1].take() > site.now
    assert site.now + 8 < turns[0].take() <= site.now + 9  # longer, as it failed again
    site.gate.status = ""
    live(site, waiting, other, minutes=1)
    counts = rows(connection, "SELECT count(*) FROM ven_telemetry GROUP BY ven_id")
    assert counts == [(5,), (5,)]
    assert rows(connection, REJECTED) == []


def test_a_home_that_fails_does_not_stop_the_others(site: OpenAdrSite, utility: Utility) -> None:
    """The client of one is revoked."""
    revoked, other = (site.home(number, settings=SETTINGS, backfill_hours=1) for number in (1, 2))
    utility.prepare(home.home.ven_id for home in (revoked, other))
    site.vtn.store.revoke(revoked.home.ven_id, site.vtn.clock())
    site.move_to(site.vtn.clock.now + MINUTE)
    fleet = OpenAdrFleet([revoked, other], lambda: site.now)
    thread = threading.Thread(target=fleet.run)
    thread.start()
    try:
        until(lambda: bool(site.utility.get(f"/reports?clientName={other.home.ven_id}")))
    finally:
        fleet.stop()
        thread.join()


def test_a_token_that_has_expired_is_renewed(site: OpenAdrSite, utility: Utility) -> None:
    home = site.home(1, settings=SETTINGS)
    utility.prepare([home.home.ven_id])
    live(site, home, minutes=1)
    site.move_to(site.vtn.clock.now + timedelta(hours=2))
    home.act(site.now)
    assert site.gate.answers.count(("POST /openadr3/3.1.1/auth/token", 200)) == 3


def test_what_is_unchanged_is_not_sent_again(site: OpenAdrSite, utility: Utility) -> None:
    client = site.client("reader", "bl")
    assert client.read("/programs", list[dict[str, Any]]) == []
    utility.prepare([])
    [program] = client.read("/programs", list[dict[str, Any]])
    assert client.read("/programs", list[dict[str, Any]]) == [program]
    of_reader = [each for each in site.gate.answers if each[0] == "GET /openadr3/3.1.1/programs"]
    assert [status for _, status in of_reader] == [200, 200, 200, 304]  # the second is the utility's


@pytest.mark.thorough
def test_secrets_are_made_once_and_kept_from_others(database_url: str, tmp_path: Path) -> None:
    """More VENs later need more clients; a client whose secret is lost is named."""
    path = tmp_path / "clients.json"
    make_credentials(database_url, path, ["openadr-0001"])
    first = read_credentials(path)
    assert path.stat().st_mode & 0o077 == 0
    make_credentials(database_url, path, ["openadr-0001", "openadr-0002"])
    assert read_credentials(path).keys() == {UTILITY, "openadr-0001", "openadr-0002"}
    assert first.items() <= read_credentials(path).items()
    path.unlink()
    with pytest.raises(CredentialsError, match=UTILITY):
        make_credentials(database_url, path, ["openadr-0001"])
    with pytest.raises(CredentialsError, match="run `prepare` first"):
        read_credentials(tmp_path / "none.json")
