"""Exit codes of programs, for supervisors, and a line with the reason."""

import errno
import sys
from collections.abc import Callable
from typing import NoReturn

import psycopg
import structlog
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from schemas.db.revisions import WrongRevisionError, is_without_schema
from schemas.programs.logs import LEVELS, log_options
from schemas.programs.settings import LogSettings, SettingsError

DONE = 0
FAILED = 1
WRONG_USAGE = 2
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
EXIT_CODES = {
    DONE: "success",
    FAILED: "failure; the reason is printed or logged",
    WRONG_USAGE: "wrong arguments or settings: a restart does not help",
    TRY_AGAIN: "the database or a port is not available now: try again later",
}
"""The exit codes of every program. A supervisor restarts all but `WRONG_USAGE`."""

DATABASE_ERRORS = (SQLAlchemyError, psycopg.Error)
"""COPY uses psycopg directly, so its errors come unwrapped."""


class PortInUseError(Exception):
    """Another program listens on the port; it may be free later. The message names the setting."""


def cannot_listen(variables: str, host: str, port: int, error: OSError) -> PortInUseError | SettingsError:
    """Return the error for a port on which a program cannot listen.

    Args:
        variables: the settings that name the address, as `HTTP_PORT`.
        host: the address.
        port: the port.
        error: of the operating system.
    """
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if error.errno == errno.EADDRINUSE:
        return PortInUseError(
            f"{variables}: {address} is in use by another program: end that, or choose another port"
        )
    if error.errno == errno.EACCES:
        return SettingsError(
            f"{variables}: this user must not listen on {address}: choose a port from 1024 on"
        )
    return SettingsError(f"{variables}: cannot listen on {address}: {error.strerror}")


def is_away(error: Exception) -> bool:
    """Return whether the database is unreachable, or closed the connection: a retry may succeed."""
    return isinstance(error, OperationalError | psycopg.OperationalError | psycopg.InterfaceError)


def exit_code(error: Exception) -> int:
    """Return the exit code for an error that ends a program."""
    if isinstance(error, SettingsError):
        return WRONG_USAGE
    if isinstance(error, PortInUseError | WrongRevisionError) or is_away(error) or is_without_schema(error):
        return TRY_AGAIN
    return FAILED


def exit_message(error: Exception) -> str:
    """Return the message for people about an error that ends a program."""
    if is_without_schema(error):
        return "The database has no tables of Gridgate: run `gridgate migrate`, or `alembic upgrade head`."
    if isinstance(error, DATABASE_ERRORS):
        return f"The database failed: {str(error.__cause__ or error).strip()}"
    return str(error)


def run_program(main: Callable[[], int | None]) -> NoReturn:
    """Run a program, and exit; an error that people can fix becomes a line and an exit code."""
    try:
        code = main() or DONE
    except (SettingsError, PortInUseError, WrongRevisionError, *DATABASE_ERRORS) as error:
        end_with_failure(exit_message(error), exit_code(error))
    sys.exit(code)


def end_with_failure(reason: str, code: int = FAILED) -> NoReturn:
    """Write the reason to stderr, as plain text or as an event `program_failed`, and exit with a code."""
    write_message("error", "program_failed", reason, error=reason)
    sys.exit(code)


def write_message(level: str, event: str, text: str, **fields: object) -> None:
    """Write to stderr: a text, or, with `LOG_FORMAT=json`, an event."""
    if _is_json():
        logger = structlog.wrap_logger(structlog.PrintLogger(sys.stderr), **log_options(level, "json"))
        logger.log(LEVELS[level], event, **fields)
    else:
        print(text, file=sys.stderr)  # noqa: T201 - to whoever started the program


def _is_json() -> bool:
    """Return whether logs are JSON, even if another setting is wrong, which may be why the program ends."""
    try:
        return LogSettings.from_environment().log_format == "json"
    except SettingsError:
        return False
