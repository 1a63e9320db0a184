"""mosquitto as the broker of `local`, where it is installed: configured as in production, but without TLS."""

import os
import shutil
from pathlib import Path

from local.child import ProcessSpec
from local.environment import inherited_environment
from local.ports import HOST, answers, is_free, listener
from local.service import InUseError, Service, UnusableError

_BESIDE_PATH = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
"""Where packages install it; often not in PATH."""

_CONFIGURATION = """\
# Each port serves MQTT 3.1.1 and 5. Sessions and messages outlive a restart.
listener {mqtt_port} {host}
listener {mqtt5_port} {host}
allow_anonymous true
persistence true
persistence_location {directory}/
autosave_interval 5
max_queued_messages 0
max_queued_bytes 1000000000
max_inflight_messages 0
persistent_client_expiration 14d
log_dest stderr
log_type error
log_type warning
log_type notice
"""
_AS_ROOT = "user root\n"  # it would become the user mosquitto, who cannot write here


def mosquitto_program() -> str | None:
    """The path of the program, if it is installed."""
    return shutil.which("mosquitto", path=os.pathsep.join([os.environ.get("PATH", ""), *_BESIDE_PATH]))


class MosquittoBroker(Service):
    """One mosquitto on 127.0.0.1, with its configuration, its data and its log under `data_dir`.

    Raises:
        UnusableError: it is not installed.
    """

    name = "broker"

    def __init__(self, data_dir: Path, *, mqtt_port: int, mqtt5_port: int) -> None:
        super().__init__()
        self._directory = data_dir.resolve() / "mosquitto"
        self._log = data_dir.resolve() / "logs" / "broker.log"
        self._ports = (mqtt_port, mqtt5_port)
        self._program = mosquitto_program()
        if self._program is None:
            raise UnusableError(
                "mosquitto is not installed: install it (Debian: apt-get install mosquitto),"
                " or use --broker embedded"
            )

    @property
    def title(self) -> str:
        """The broker's name, for messages."""
        return f"mosquitto ({self._program})"

    @property
    def mqtt_url(self) -> str:
        return f"mqtt://{HOST}:{self._ports[0]}"

    @property
    def mqtt5_url(self) -> str:
        return f"mqtt://{HOST}:{self._ports[1]}"

    @property
    def _configuration(self) -> Path:
        return self._directory / "mosquitto.conf"

    def _prepare(self) -> None:
        for port in self._ports:
            if not is_free(port):
                raise InUseError(f"port {port} is in use by {listener(port)}")
        self._directory.mkdir(parents=True, exist_ok=True)
        text = _CONFIGURATION.format(
            mqtt_port=self._ports[0], mqtt5_port=self._ports[1], host=HOST, directory=self._directory
        )
        self._configuration.write_text(text + (_AS_ROOT if os.geteuid() == 0 else ""))

    def _command(self) -> ProcessSpec:
        return ProcessSpec(
            argv=[str(self._program), "-c", str(self._configuration)],
            env=inherited_environment(),
            cwd=self._directory,
            log=self._log,
        )

    def _is_ready(self) -> bool:
        return all(answers(port) for port in self._ports)
