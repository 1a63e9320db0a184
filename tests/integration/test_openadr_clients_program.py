"""`python -m serving clients` at a terminal."""

import json
import re

import pytest
from sqlalchemy import Engine

from tests.integration.openadr_clients import OpenAdrClient, Vtn
from tests.integration.test_keys_program import administrate

pytestmark = pytest.mark.thorough


def test_a_client_from_its_making_to_its_end(database_url: str, engine: Engine) -> None:
    secret = administrate(database_url, "clients", "create", "utility", "--role", "bl").strip()
    assert re.fullmatch(r"gc_[0-9a-f]{12}_[0-9a-f]{64}", secret)
    client = OpenAdrClient(Vtn(engine).web, "utility", secret)
    assert client.fetch_token().status_code == 200
    meter = ("clients", "create", "meter", "--role", "ven", "--scopes", "read_targets, write_reports")
    made = json.loads(administrate(database_url, *meter, settings={"LOG_FORMAT": "json"}))
    assert (made["event"], made["id"], made["role"]) == ("client_created", "meter", "ven")
    listed = administrate(database_url, "clients", "list")
    assert re.search(r"utility +bl +created 20.*Z  works  read_all write_programs", listed)
    assert re.search(r"meter +ven +created 20.*Z  works  read_targets write_reports\n", listed)
    administrate(database_url, "clients", "revoke", "utility")
    assert client.fetch_token().status_code == 401
    assert "'utility' is, or was" in administrate(
        database_url, "clients", "create", "utility", "--role", "bl", status=1
    )
    assert "no client 'nobody'" in administrate(database_url, "clients", "revoke", "nobody", status=1)
    audited = administrate(database_url, "audit")
    assert re.findall(r"(\d{3})  clients +(.*)  by terminal:", audited) == [
        ("404", "revoke nobody"),
        ("409", "create utility"),
        ("204", "revoke utility"),
        ("201", "create meter"),
        ("201", "create utility"),
    ]
    assert secret.split("_")[2] not in listed + audited


def test_scopes_of_another_role_are_refused(database_url: str) -> None:
    wrong = ("clients", "create", "x", "--role", "ven", "--scopes", "read_all")
    assert "'read_all' is none of role ven" in administrate(database_url, *wrong, status=2)
    assert administrate(database_url, "clients", "list") == ""


def test_several_clients_are_made_at_once(database_url: str) -> None:
    """Up to the first that exists, of which the message speaks."""
    create = ("clients", "create", "one", "two", "--role", "ven")
    secrets = administrate(database_url, *create).split()
    assert len(secrets) == len(set(secrets)) == 2
    again = ("clients", "create", "three", "two", "four", "--role", "ven")
    assert "'two' is, or was" in administrate(database_url, *again, status=1)
    listed = administrate(database_url, "clients", "list")
    assert re.findall(r"^(\w+)", listed, re.MULTILINE) == ["one", "two", "three"]
