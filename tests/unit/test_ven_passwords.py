"""Sealed passwords, and the commands to the broker's plugin."""

import msgspec
import pytest

from ingest.credentials import dynsec
from ingest.credentials.dispatcher import MOST_AT_ONCE, next_at_once
from ingest.credentials.dynsec import CredentialChange, Response, commands_for, failure_in, is_managed
from schemas.credentials import UnreadablePasswordError, seal, unseal

KEY, OTHER_KEY = bytes(range(32)), bytes(32)


def test_a_seal_is_opened_by_its_key_for_its_ven_only() -> None:
    sealed = seal("s3cret", "a", KEY)
    assert unseal(sealed, "a", KEY) == "s3cret"
    assert "s3cret" not in sealed
    assert seal("s3cret", "a", KEY) != sealed
    with pytest.raises(UnreadablePasswordError, match="CREDENTIALS_KEY"):
        unseal(sealed, "a", OTHER_KEY)
    with pytest.raises(UnreadablePasswordError, match="another VEN"):
        unseal(sealed, "b", KEY)
    for wrong in ("", "x", sealed[:-2], sealed.replace(".", "", 1)):
        with pytest.raises(UnreadablePasswordError):
            unseal(wrong, "a", KEY)


def change(*, enabled: bool = True) -> CredentialChange:
    return CredentialChange("a", 1, enabled, None, 0)


def names(commands: object) -> list[str]:
    return [each["command"] for each in msgspec.to_builtins(commands)]


def test_commands_by_what_is_there() -> None:
    assert names(commands_for(change(), "p", is_there=False)) == ["createRole", "createClient"]
    again = ["createRole", "modifyRole", "modifyClient", "enableClient"]
    assert names(commands_for(change(), "p", is_there=True)) == again
    assert names(commands_for(change(enabled=False), None, is_there=True)) == ["disableClient"]
    assert names(commands_for(change(enabled=False), None, is_there=False)) == []


def test_a_role_has_the_topics_of_one_ven() -> None:
    topics = {each["topic"] for each in dynsec.access_of("house 7")}
    assert topics == {
        f"{topic}/house 7" for topic in ("oadr/meter", "ven/loads", "ven/status", "ven/ack", "ven/cmd")
    }


def found(*roles: str) -> Response:
    client = {"username": "a", "roles": [{"rolename": role} for role in roles]}
    return Response("getClient", data={"client": client})


def test_a_user_is_managed_by_its_role() -> None:
    assert is_managed(found("ven:a"))
    assert not is_managed(found("admin", "ven:b"))
    assert not is_managed(found())


def test_answers_of_the_plugin() -> None:
    payload = (
        b'{"responses": [{"command": "createRole", "error": "Role already exists", "correlationData": "0"}]}'
    )
    [response] = dynsec.responses_in(payload)
    assert (response.correlation_data, failure_in([response])) == ("0", None)
    assert failure_in([Response("createClient", "Role not found")]) == "createClient: Role not found"
    assert dynsec.responses_in(b"\xff") == dynsec.responses_in(b"[]") == []


@pytest.mark.parametrize(
    ("at_once", "lasted_s", "expected"),
    [
        (4, 0.01, 8),
        (40, 0.2, MOST_AT_ONCE),
        (50, 0.1, 50),
        (20, 0.4, 20),
        (20, 0.6, 10),
        (3, 9, 1),
        (1, 9, 1),
    ],
)
def test_conversations_with_a_slow_broker_become_shorter(
    at_once: int, lasted_s: float, expected: int
) -> None:
    """A revocation waits for the one under way."""
    assert next_at_once(at_once, lasted_s) == expected
