"""`python -m jobs` as a child process that can be frozen, with its `/health`."""

import sys
import urllib.error
import urllib.request
from pathlib import Path

from local.child import ProcessSpec
from local.environment import REPOSITORY, inherited_environment
from local.ports import HOST, free_ports
from local.service import Service
from tests.faults.freezing import freeze, thaw


def health(port: int, path: str = "/health") -> tuple[int, str]:
    """Status and body; status 0 without an answer."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError as error:
        return 0, str(error)


class Scheduler(Service):
    """One scheduler; the `application_name` of its database sessions is its name."""

    ready_within_s = 60.0

    def __init__(self, directory: Path, database_url: str, name: str, **settings: str) -> None:
        super().__init__()
        self.name = name
        (self.port,) = free_ports(1)
        separator = "&" if "?" in database_url else "?"
        self._log = directory / "logs" / f"{name}.log"
        self._spec = ProcessSpec(
            argv=[sys.executable, "-m", "jobs"],
            env=inherited_environment(
                DATABASE_URL=f"{database_url}{separator}application_name={name}",
                JOBS_HTTP_PORT=str(self.port),
                **settings,
            ),
            cwd=REPOSITORY,
            log=self._log,
        )

    def freeze(self) -> None:
        freeze(self.pid)

    def thaw(self) -> None:
        thaw(self.pid)

    def health(self) -> tuple[int, str]:
        return health(self.port)

    def has_logged(self, text: str) -> int:
        return self._log.read_text(errors="replace").count(text)

    def _command(self) -> ProcessSpec:
        return self._spec

    def _is_ready(self) -> bool:
        return self.health()[0] != 0
