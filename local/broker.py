"""Embedded MQTT broker: rumqttd of the `iotcore` wheel, with one listener for 3.1.1 and one for 5.

It keeps sessions and messages in memory, sends 100 messages at a time, and disconnects a client that
subscribes to a topic which begins with `$`: use mosquitto where it is installed.
"""

import sys
from pathlib import Path

from local.child import ProcessSpec
from local.environment import inherited_environment
from local.ports import HOST, answers, is_free, listener
from local.service import InUseError, Service

_ROUTER = """\
id = 0

[router]
id = 0
max_connections = 10010
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10
"""

_LISTENER = """
[{version}.1]
name = "{version}"
listen = "{host}:{port}"
next_connection_delay_ms = 1

[{version}.1.connections]
connection_timeout_ms = 60000
max_payload_size = 268435455
max_inflight_count = 500
dynamic_filters = true
"""


class EmbeddedBroker(Service):
    """One broker on 127.0.0.1, with its configuration and its log under `data_dir`."""

    name = "broker"

    def __init__(self, data_dir: Path, *, mqtt_port: int, mqtt5_port: int) -> None:
        super().__init__()
        self._data_dir = data_dir.resolve()
        self._ports = {"v4": mqtt_port, "v5": mqtt5_port}

    @property
    def title(self) -> str:
        """The broker's name, for messages."""
        return "the embedded rumqttd, which has limits: README, Be a VEN yourself"

    @property
    def mqtt_url(self) -> str:
        """For clients of MQTT 3.1.1."""
        return f"mqtt://{HOST}:{self._ports['v4']}"

    @property
    def mqtt5_url(self) -> str:
        """For clients of MQTT 5."""
        return f"mqtt://{HOST}:{self._ports['v5']}"

    @property
    def _configuration(self) -> Path:
        return self._data_dir / "broker.toml"

    def _prepare(self) -> None:
        for port in self._ports.values():
            if not is_free(port):  # rumqttd would run without this listener
                raise InUseError(f"port {port} is in use by {listener(port)}")
        self._data_dir.mkdir(parents=True, exist_ok=True)
        listeners = (_LISTENER.format(version=v, host=HOST, port=port) for v, port in self._ports.items())
        self._configuration.write_text(_ROUTER + "".join(listeners))

    def _command(self) -> ProcessSpec:
        return ProcessSpec(
            # rumqttd logs every packet at the level "error"
            argv=[
                sys.executable,
                "-m",
                "iotcore",
                "--config",
                str(self._configuration),
                "--log-level",
                "CRITICAL",
            ],
            env=inherited_environment(),
            cwd=self._data_dir,
            log=self._data_dir / "logs" / "broker.log",
        )

    def _is_ready(self) -> bool:
        return all(answers(port) for port in self._ports.values())
