"""The fleet's clients and their secrets, which are kept in a file that only its owner reads."""

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec

from serving.openadr.clients import ClientIdTakenError, ClientStore, NewClient

UTILITY = "simulated-utility"


class CredentialsError(Exception):
    """The file cannot be used. The message says what to do."""


def read_credentials(path: Path) -> dict[str, str]:
    """Secrets by client id.

    Raises:
        CredentialsError: the file is missing or broken.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError) as error:
        raise CredentialsError(f"{path} has no credentials ({error}): run `prepare` first") from error


def make_credentials(store: ClientStore, path: Path, ven_names: Iterable[str], now: datetime) -> None:
    """Make the clients that the file has no secrets of: a utility, and one for each VEN.

    Raises:
        CredentialsError: there is such a client, and its secret is lost.
    """
    secrets = read_credentials(path) if path.exists() else {}
    roles = {UTILITY: "bl", **dict.fromkeys(ven_names, "ven")}
    for client_id, role in roles.items():
        if client_id not in secrets:
            secrets[client_id] = _made(store, client_id, role, path, now)
            _write(path, secrets)


def _made(store: ClientStore, client_id: str, role: str, path: Path, now: datetime) -> str:
    try:
        return store.create(NewClient(client_id, role), now)
    except ClientIdTakenError as error:
        raise CredentialsError(
            f"{path} has no secret of the client {client_id!r}, which exists: start with an empty database"
        ) from error


def _write(path: Path, secrets: dict[str, str]) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(secrets))
    temporary.replace(path)
