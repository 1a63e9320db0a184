"""Checks extras of the package; errors name the missing packages and the command that installs them."""

import sys
from collections.abc import Iterable
from importlib.util import find_spec

from schemas.programs.exits import WRONG_USAGE, end_with_failure


class MissingExtraError(ImportError):
    """A part of Gridgate needs packages of an extra that is not installed."""


def require_extra(extra: str, modules: Iterable[str]) -> None:
    """Check that the packages of an extra are installed.

    Raises:
        MissingExtraError: they are not; `python -m` ends instead, with a line.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if not missing:
        return
    message = f"{', '.join(missing)} is missing: pip install 'gridgate[{extra}]'"
    if sys.argv[0] == "-m":  # while `python -m` looks for the module to run
        end_with_failure(message, WRONG_USAGE)
    raise MissingExtraError(message)
