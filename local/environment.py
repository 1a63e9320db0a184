"""The environment of a child: a few variables of the system, and none of the caller's settings."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
"""The directory that holds the packages: a checkout, or `site-packages`."""

MIGRATIONS = REPOSITORY / "migrations" / "alembic.ini"

_INHERITED = (
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LD_LIBRARY_PATH",
    "PATH",
    "PYTHONPATH",
    "TERM",
    "TMPDIR",
    "USER",
    "VIRTUAL_ENV",
)


def inherited_environment(**settings: str) -> dict[str, str]:
    """Return the caller's PATH and the like, with `settings`.

    A DATABASE_URL or an HTTP_PORT of the caller's shell must not reach a program.
    """
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return inherited | {"PYTHONUNBUFFERED": "1"} | settings
