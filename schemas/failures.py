"""How a program ends that cannot go on: with one line on stderr, in the form of its log."""

import argparse
import sys
from typing import NoReturn

import structlog

from schemas.logs import log_options
from schemas.settings import LogSettings, SettingsError

WRONG_USAGE = 2


def end_with_failure(reason: str, code: int = 1) -> NoReturn:
    """Tell why on stderr, as plain text or as an event `program_failed`, and exit with a code."""
    if _is_json():
        options = log_options("error", "json")
        logger = structlog.wrap_logger(structlog.PrintLogger(sys.stderr), **options)
        logger.error("program_failed", error=reason)
    else:
        print(reason, file=sys.stderr)  # noqa: T201 - to whoever started the program
    sys.exit(code)


class Parser(argparse.ArgumentParser):
    """A parser of the command line, whose errors have the form of the log."""

    def error(self, message: str) -> NoReturn:
        end_with_failure(f"{self.format_usage()}{self.prog}: error: {message}", WRONG_USAGE)


def _is_json() -> bool:
    """Also where another setting is missing or wrong, which may be why the program ends."""
    try:
        return LogSettings.from_environment().log_format == "json"
    except SettingsError:
        return False
