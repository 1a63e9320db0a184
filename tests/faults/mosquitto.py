"""A mosquitto with persistent sessions and unlimited queues, as in production."""

import os
import shutil
import signal
from pathlib import Path

from local.child import ProcessSpec
from local.environment import inherited_environment
from local.ports import HOST, answers, free_ports
from local.service import Service
from tests.faults.deadline import until
from tests.faults.requirement import be_without

_CONFIGURATION = """\
listener {port} {host}
persistence true
persistence_location {directory}/
autosave_interval 2
max_queued_messages 0
max_inflight_messages 0
log_dest stderr
log_type error
log_type warning
log_type notice
"""
SAVED_WITHIN_S = 30.0
OPEN = "allow_anonymous true\n"
_AS_ROOT = "user root\n"  # it would become the user mosquitto, who cannot write here
_BESIDE_PATH = "/usr/sbin"  # where Debian puts it


class Mosquitto(Service):
    """One broker on 127.0.0.1, for MQTT 3.1.1 and 5, with its data under `data_dir`.

    `stop` lets it write its data; `kill` loses messages that it acknowledged since it last wrote them,
    which no subscriber can recover. `access`: lines of its configuration that decide who may connect.
    """

    name = "mosquitto"

    def __init__(self, data_dir: Path, access: str = OPEN) -> None:
        super().__init__()
        self._access = access
        self._program = _find()
        self._directory = data_dir.resolve() / "mosquitto"
        self._log = data_dir.resolve() / "logs" / "mosquitto.log"
        (self.port,) = free_ports(1)

    @property
    def mqtt_url(self) -> str:
        return f"mqtt://{HOST}:{self.port}"

    mqtt5_url = mqtt_url

    def save(self) -> None:
        """Make it write sessions and messages to its disk, and wait until it has."""
        before = self._saved_at()
        os.kill(self.pid, signal.SIGUSR1)
        until(lambda: self._saved_at() != before, SAVED_WITHIN_S, lambda: "mosquitto does not save")

    def _saved_at(self) -> int:
        file = self._directory / "mosquitto.db"
        return file.stat().st_mtime_ns if file.exists() else 0

    def restart(self) -> None:
        self.stop()
        self.start()

    def _prepare(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        text = _CONFIGURATION.format(port=self.port, host=HOST, directory=self._directory)
        self._configuration.write_text(text + self._access + (_AS_ROOT if os.geteuid() == 0 else ""))

    def _command(self) -> ProcessSpec:
        return ProcessSpec(
            argv=[self._program, "-c", str(self._configuration)],
            env=inherited_environment(),
            cwd=self._directory,
            log=self._log,
        )

    def _is_ready(self) -> bool:
        return answers(self.port)

    @property
    def _configuration(self) -> Path:
        return self._directory / "mosquitto.conf"


def _find() -> str:
    program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:{_BESIDE_PATH}")
    if program is None:
        be_without("mosquitto is not installed: `apt-get install mosquitto`")
    return program
