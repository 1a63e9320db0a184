"""Clients of OpenADR that others wrote, against the running service: `openadr3` and `oadr30-ven-ud`."""

import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from local.environment import REPOSITORY, inherited_environment
from local.ports import HOST, free_ports
from tests.integration.test_keys_program import administrate, until_it_answers

UD_CLIENT = "oadr30-ven-ud==1.2.0"
"""Its wheel has a package `tests`, which would hide ours: it is installed apart from all else, behind it."""

HOUR = {"start": "2030-01-15T13:00:00Z", "duration": "PT1H"}
PRICES = [{"id": number, "payloads": [{"type": "PRICE", "values": [0.1 + number]}]} for number in range(3)]


@pytest.fixture(params=["3.1.1", "3.1.0"])
def base(request: pytest.FixtureRequest, database_url: str) -> Iterator[str]:
    """The URL of the service."""
    [port] = free_ports(1)
    environment = inherited_environment(DATABASE_URL=database_url, HTTP_PORT=str(port), LOG_LEVEL="error")
    server = subprocess.Popen([sys.executable, "-m", "serving"], cwd=REPOSITORY, env=environment)
    try:
        until_it_answers(port)
        yield f"http://{HOST}:{port}/openadr3/{request.param}"
    finally:
        server.terminate()
        server.wait(20)


def secret_of(database_url: str, client_id: str, role: str) -> str:
    return administrate(database_url, "clients", "create", client_id, "--role", role).strip()


@pytest.mark.thorough
def test_openadr3(base: str, database_url: str) -> None:
    """A utility makes a program and an event; a VEN enrols, reads them, and reports."""
    with client_of(base, database_url, "bl") as utility, client_of(base, database_url, "ven") as home:
        use_both(utility, home)


def client_of(base: str, database_url: str, role: str) -> Any:
    """A client of the package `openadr3`; it finds `auth/token` by `auth/server`."""
    token = import_module("openadr3.auth").fetch_token(base, role, secret_of(database_url, role, role))
    return import_module("openadr3").OpenADRClient(base_url=base, token=token)


def use_both(utility: Any, home: Any) -> None:
    program = utility.create_program({"programName": "tou"}).json()
    body = {"programID": program["id"], "eventName": "prices", "intervalPeriod": HOUR, "intervals": PRICES}
    made = utility.create_event(body)
    assert made.status_code == 201
    ven = home.create_ven({"objectType": "VEN_VEN_REQUEST", "venName": "home 1"}).json()
    resource = {"objectType": "VEN_RESOURCE_REQUEST", "venID": ven["id"], "resourceName": "hvac1"}
    assert home.create_resource(resource).status_code == 201
    [event] = home.events(programID=program["id"])
    assert event.event_name == "prices"
    prices = [float(payload.values[0]) for each in event.intervals for payload in each.payloads]
    assert prices == [0.1, 1.1, 2.1]
    assert home.find_program_by_name("tou").id == program["id"]
    assert home.find_ven_by_name("home 1").id == ven["id"]
    usage = [{"id": 0, "payloads": [{"type": "USAGE", "values": [1.5]}]}]
    report = {
        "eventID": made.json()["id"],
        "clientName": "home 1",
        "resources": [{"resourceName": "hvac1", "intervals": usage}],
    }
    assert home.create_report(report).status_code == 201
    [read] = utility.reports()
    assert read.client_name == "home 1"
    assert utility.create_report(report).status_code == 403
    assert home.create_program({"programName": "own"}).status_code == 403
    subscription = {
        "clientName": "home 1",
        "objectOperations": [
            {"objects": ["EVENT"], "operations": ["CREATE"], "callbackUrl": "https://home.example/events"}
        ],
    }
    assert home.create_subscription(subscription).status_code == 201
    assert len(home.subscriptions()) == len(utility.subscriptions()) == 1
    assert home.get_notifiers().json() == {"WEBHOOK": True}
    assert utility.delete_program(program["id"]).status_code == 200
    assert home.events() == []


@pytest.mark.clients
def test_oadr30_ven_ud(base: str, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A VEN that asks for the scope `read_all`, and reads programs and events.

    It enrols as OpenADR 3.0 has it, without `objectType`, so it cannot enrol here. It writes files.
    """
    monkeypatch.chdir(tmp_path)
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--target",
        str(tmp_path / "packages"),
        UD_CLIENT,
    ]
    subprocess.run(install, check=True)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "packages")])
    vtn = import_module("oadr30.vtn")
    with client_of(base, database_url, "bl") as utility:
        program = utility.create_program({"programName": "tou"}).json()
        body: dict[str, Any] = {"programID": program["id"], "intervalPeriod": HOUR, "intervals": PRICES}
        assert utility.create_event(body).status_code == 201
    ven = vtn.VTNOps(base, "home", secret_of(database_url, "home", "ven"))
    assert [each["id"] for each in ven.get_programs()] == [program["id"]]
    assert ven.get_program(program["id"])["programName"] == "tou"
    [event] = ven.get_events(program["id"])
    assert event["intervals"] == PRICES
    assert ven.get_events("none") == []
    refused = vtn.VTNOps(base, "home", "a wrong secret")
    assert refused.get_programs() is None
    assert ven.create_ven("home 1") is None
