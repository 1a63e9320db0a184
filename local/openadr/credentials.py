"""The fleet's clients and their secrets, which are kept in a file that only its owner reads."""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from local.environment import REPOSITORY, inherited_environment
from schemas.programs.exits import FAILED

UTILITY = "simulated-utility"

Role = Literal["bl", "ven"]


class CredentialsError(Exception):
    """The file cannot be used, or a client cannot be made. The message says what to do."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class _Line(msgspec.Struct):
    """A line of `python -m serving clients create`, of which those with a secret count."""

    event: str
    id: str = ""
    secret: str = ""


def read_credentials(path: Path, needed: Iterable[str] = ()) -> dict[str, str]:
    """Read secrets by client id.

    Raises:
        CredentialsError: the file is missing or broken, or has no secret of a client that is needed.
    """
    try:
        secrets = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (OSError, msgspec.DecodeError) as error:
        raise CredentialsError(f"{path} has no credentials ({error}): run `prepare` first") from error
    if missing := [client_id for client_id in needed if client_id not in secrets]:
        raise CredentialsError(f"{path} has no secret of {missing[0]!r}: run `prepare` first")
    return secrets


def make_credentials(database_url: str, path: Path, ven_names: Iterable[str]) -> None:
    """Create the clients whose secrets the file lacks: a utility, and one for each VEN.

    Raises:
        CredentialsError: one cannot be created, such as an existing one whose secret is lost.
    """
    secrets = read_credentials(path) if path.exists() else {}
    roles: dict[Role, list[str]] = {"bl": [UTILITY], "ven": list(ven_names)}
    for role, client_ids in roles.items():
        missing = [client_id for client_id in client_ids if client_id not in secrets]
        if missing:
            process = _create(database_url, role, missing)
            secrets |= dict(_made(process.stdout))
            _write(path, secrets)
            if process.returncode:
                raise CredentialsError(
                    f"{process.stderr.strip()} ({path} has no secret of it)", process.returncode
                )


def _create(database_url: str, role: Role, client_ids: list[str]) -> subprocess.CompletedProcess[str]:
    words = ["serving", "clients", "create", *client_ids, "--role", role]
    environment = inherited_environment(DATABASE_URL=database_url, LOG_FORMAT="json")
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _made(output: str) -> Iterator[tuple[str, str]]:
    for line in output.splitlines():
        created = msgspec.json.decode(line, type=_Line)
        if created.secret:
            yield created.id, created.secret


def _write(path: Path, secrets: dict[str, str]) -> None:
    temporary = path.with_name(f"{path.name}.new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(secrets))
    temporary.replace(path)
