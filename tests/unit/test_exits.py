"""Exit codes: what a supervisor makes of them, and that the unit files and the guide agree."""

import errno
import re
from configparser import ConfigParser
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.exc import OperationalError, ProgrammingError

from schemas.db.revisions import WrongRevisionError
from schemas.programs.exits import (
    EXIT_CODES,
    FAILED,
    TRY_AGAIN,
    WRONG_USAGE,
    PortInUseError,
    cannot_listen,
    exit_code,
    exit_message,
)
from schemas.programs.settings import SettingsError

REPOSITORY = Path(__file__).resolve().parents[2]
UNITS = sorted((REPOSITORY / "deploy" / "systemd").iterdir())


def wrapped(cause: Exception, kind: type[OperationalError | ProgrammingError]) -> Exception:
    error = kind("SELECT 1", None, cause)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (SettingsError("HTTP_PORT: wrong"), WRONG_USAGE),
        (PortInUseError("HTTP_PORT: in use"), TRY_AGAIN),
        (WrongRevisionError("at revision 1"), TRY_AGAIN),
        (psycopg.OperationalError("refused"), TRY_AGAIN),
        (psycopg.InterfaceError("closed"), TRY_AGAIN),
        (wrapped(psycopg.OperationalError("refused"), OperationalError), TRY_AGAIN),
        (wrapped(psycopg.errors.UndefinedTable("no vens"), ProgrammingError), TRY_AGAIN),
        (psycopg.errors.UndefinedTable("no vens"), TRY_AGAIN),
        (psycopg.errors.InsufficientPrivilege("no"), FAILED),
        (wrapped(psycopg.errors.SyntaxError("no"), ProgrammingError), FAILED),
    ],
)
def test_what_may_work_later_is_told_from_what_will_not(error: Exception, code: int) -> None:
    assert exit_code(error) == code
    assert exit_message(error)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EADDRINUSE, PortInUseError),
        (errno.EACCES, SettingsError),
        (errno.EADDRNOTAVAIL, SettingsError),
    ],
)
@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "127.0.0.1:80"), ("::1", "[::1]:80")])
def test_a_port_that_is_in_use_may_become_free(
    number: int, kind: type[Exception], host: str, address: str
) -> None:
    error = cannot_listen("HTTP_PORT", host, 80, OSError(number, "no"))
    assert type(error) is kind
    assert str(error).startswith("HTTP_PORT: ")
    assert address in str(error)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_restarts_all_but_wrong_settings(unit: Path) -> None:
    """`ingest` once ended with 1 for a wrong setting, and was restarted for ever."""
    parsed = ConfigParser(strict=False, interpolation=None)
    parsed.read(unit)
    assert parsed["Service"]["Restart"] in {"always", "on-failure"}
    assert parsed["Service"]["RestartPreventExitStatus"].split() == [str(WRONG_USAGE)]
    assert parsed["Unit"]["StartLimitIntervalSec"] == "0"


def test_the_guide_lists_the_exit_codes() -> None:
    guide = (REPOSITORY / "docs" / "operations.md").read_text()
    section = guide.partition("\n### Exit codes\n")[2].partition("\n#")[0]
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", section, re.MULTILINE)] == list(EXIT_CODES)
