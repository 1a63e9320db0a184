"""The commands of mosquitto's plugin dynamic-security, and its responses. Pure.

A VEN's user name is its id. It has a role of its own, which allows its own topics and no others. That role
marks a user as created here: other users, such as the administrator, are never changed, even if a VEN has
the same name.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

CONTROL = "$CONTROL/dynamic-security/v1"
RESPONSES = f"{CONTROL}/response"
PUBLISHED = ("oadr/meter", "ven/loads", "ven/status", "ven/ack")
COMMANDS = "ven/cmd"
NOT_FOUND = "Client not found"
HARMLESS = {("createRole", "Role already exists"), ("getClient", NOT_FOUND)}
FOREIGN_USER = "the broker has a user of that name, not created here: remove it, or give the VEN another id"

Command = Mapping[str, object]


class CredentialChange(Struct, frozen=True):
    """The desired state of a VEN's credential; without `enabled` it is revoked, and needs no password."""

    ven_id: str
    revision: int
    enabled: bool
    sealed_password: str | None
    attempts: int


class Response(Struct, frozen=True, rename="camel"):
    """The plugin's response to one command."""

    command: str
    error: str | None = None
    data: dict[str, Any] | None = None
    correlation_data: str | None = None


class _Responses(Struct, frozen=True):
    responses: list[Response]


def responses_in(payload: bytes) -> list[Response]:
    """Return the responses in a message of the broker; empty for any other message."""
    try:
        return msgspec.json.decode(payload, type=_Responses).responses
    except msgspec.DecodeError:
        return []


def role_of(ven_id: str) -> str:
    return f"ven:{ven_id}"


def lookup(ven_id: str) -> Command:
    """Return the command that looks up the user of a VEN."""
    return {"command": "getClient", "username": ven_id}


def commands_for(change: CredentialChange, password: str | None, *, is_there: bool) -> Sequence[Command]:
    """Return the commands that bring the broker's user to the desired state. Idempotent.

    Both `modifyClient` and `disableClient` end the connections of that user.
    """
    user = {"username": change.ven_id}
    if not change.enabled:
        return [{"command": "disableClient", **user}] if is_there else []
    role = {"rolename": role_of(change.ven_id), "acls": access_of(change.ven_id)}
    login = {**user, "password": password, "roles": [{"rolename": role["rolename"]}]}
    if is_there:
        return [
            {"command": "createRole", **role},
            {"command": "modifyRole", **role},
            {"command": "modifyClient", **login},
            {"command": "enableClient", **user},
        ]
    return [{"command": "createRole", **role}, {"command": "createClient", **login}]


def access_of(ven_id: str) -> Sequence[Command]:
    """Return the ACLs of a VEN's topics."""
    send = [_allowed("publishClientSend", f"{topic}/{ven_id}") for topic in PUBLISHED]
    read = ("subscribeLiteral", "unsubscribeLiteral", "publishClientReceive")
    return [*send, *(_allowed(kind, f"{COMMANDS}/{ven_id}") for kind in read)]


def is_there(user: Response) -> bool:
    """Whether the broker has that user."""
    return user.error is None


def is_managed(user: Response) -> bool:
    """Return whether the user was created here."""
    client = (user.data or {}).get("client", {})
    return role_of(client.get("username", "")) in [role.get("rolename") for role in client.get("roles", [])]


def failure_in(responses: Sequence[Response]) -> str | None:
    """Return the first error among the responses, if any."""
    wrong = (f"{each.command}: {each.error}" for each in responses if each.error and not _is_harmless(each))
    return "; ".join(wrong) or None


def _is_harmless(response: Response) -> bool:
    return (response.command, response.error) in HARMLESS


def _allowed(kind: str, topic: str) -> Command:
    return {"acltype": kind, "topic": topic, "allow": True}
