"""Brokers that Debian ships beside mosquitto, each as one node on 127.0.0.1 that keeps its data on disk."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from local.child import ProcessSpec
from local.environment import inherited_environment
from local.ports import HOST, answers, free_ports
from local.service import Service
from tests.faults.requirement import be_without

USER, PASSWORD = "gridgate", "secret"
MIRRORED = json.dumps(
    {
        "users": [{"name": USER, "password": PASSWORD, "tags": ""}],
        "vhosts": [{"name": "/"}],
        "permissions": [{"user": USER, "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}],
        "policies": [
            {
                "vhost": "/",
                "name": "mirrored",
                "pattern": "^mqtt-subscription-",
                "apply-to": "queues",
                "definition": {"ha-mode": "all", "ha-sync-mode": "automatic"},
            }
        ],
    }
)


class OtherBroker(Service):
    """One broker, and its data under `data_dir`."""

    def __init__(self, data_dir: Path) -> None:
        super().__init__()
        self._directory = data_dir.resolve() / self.name
        self.port, *self._ports = free_ports(4)

    @property
    def mqtt_url(self) -> str:
        return f"mqtt://{USER}:{PASSWORD}@{HOST}:{self.port}"

    def _is_ready(self) -> bool:
        return answers(self.port)

    def _run(self, argv: list[str], **environment: str) -> ProcessSpec:
        return ProcessSpec(
            argv=argv,
            env={**inherited_environment(), "HOME": str(self._directory), **environment},
            cwd=self._directory,
            log=self._directory / "log",
        )

    def _write(self, name: str, text: str) -> Path:
        self._directory.mkdir(parents=True, exist_ok=True)
        file = self._directory / name
        file.write_text(text)
        return file


def installed(pattern: str, package: str) -> str:
    """A file of a Debian package; if it is missing the test is skipped."""
    files = sorted(Path("/").glob(pattern))
    if not files:
        be_without(f"{package} is not installed: `apt-get install {package}`")
    return str(files[-1])


class Nats(OtherBroker):
    """nats-server with JetStream, which its MQTT 3.1.1 needs."""

    name = "nats"

    def _prepare(self) -> None:
        self._program = shutil.which("nats-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if self._program is None:
            be_without("nats-server is not installed: `apt-get install nats-server`")
        self._write(
            "nats.conf",
            f'server_name: "n1"\nlisten: "{HOST}:{self._ports[0]}"\n'
            f'jetstream {{ store_dir: "{self._directory}" }}\n'
            f'mqtt {{ host: "{HOST}", port: {self.port} }}\n'
            f'authorization {{ user: "{USER}", password: "{PASSWORD}" }}\n',
        )

    def _command(self) -> ProcessSpec:
        return self._run([str(self._program), "-c", str(self._directory / "nats.conf")])


class RabbitMq(OtherBroker):
    """RabbitMQ with its MQTT plugin, and an epmd of its own for its Erlang nodes."""

    name = "rabbitmq"
    ready_within_s = 120.0
    stops_within_s = 30.0
    _cluster: Sequence[str] = ()

    def _prepare(self) -> None:
        self._program = installed(
            "usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server", "rabbitmq-server"
        )
        self._write("enabled_plugins", "[rabbitmq_mqtt].\n")
        self._write(
            "rabbitmq.conf",
            f"listeners.tcp.1 = {HOST}:{self._ports[0]}\nmqtt.listeners.tcp.1 = {HOST}:{self.port}\n"
            f"default_user = {USER}\ndefault_pass = {PASSWORD}\nmqtt.allow_anonymous = false\n"
            "mqtt.subscription_ttl = 86400000\nmqtt.prefetch = 4000\n",
        )

        if self._cluster:
            self._write(".erlang.cookie", "GRIDGATE").chmod(0o400)
            self._write("policies.json", MIRRORED)
            lines = [
                f"cluster_formation.classic_config.nodes.{n} = {name}"
                for n, name in enumerate(self._cluster, 1)
            ]
            lines += ["cluster_formation.peer_discovery_backend = classic_config"]
            lines += [f"load_definitions = {self._directory / 'policies.json'}"]
            with (self._directory / "rabbitmq.conf").open("a") as file:
                file.write("\n".join(lines) + "\n")

    def join(self, first: "RabbitMq", names: list[str]) -> None:
        """Make it a node of a cluster, whose nodes use the epmd of the first one."""
        self._cluster = names
        self._ports[2] = first._ports[2]

    @property
    def node_name(self) -> str:
        return f"gridgate-{self.port}@localhost"

    def _command(self) -> ProcessSpec:
        return self._run([self._program], **self.environment)

    @property
    def environment(self) -> dict[str, str]:
        own = self._directory
        return {
            "RABBITMQ_NODENAME": self.node_name,
            "RABBITMQ_CONFIG_FILE": str(own / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(own / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(own / "mnesia"),
            "RABBITMQ_LOG_BASE": str(own / "logs"),
            "RABBITMQ_PID_FILE": str(own / "pid"),
            "RABBITMQ_DIST_PORT": str(self._ports[1]),
            "ERL_EPMD_PORT": str(self._ports[2]),
            "ERL_EPMD_ADDRESS": HOST,
            "LANG": "C.UTF-8",
        }

    def _clean_up(self) -> None:
        epmd = shutil.which("epmd")
        if epmd is not None:
            subprocess.run(
                [epmd, "-port", str(self._ports[2]), "-kill"], capture_output=True, check=False, timeout=30
            )


class RabbitMqCluster:
    """Three nodes of RabbitMQ whose queues are mirrored on all of them; the first one starts alone."""

    def __init__(self, data_dir: Path) -> None:
        self.nodes = [RabbitMq(data_dir / str(number)) for number in range(3)]
        for node in self.nodes:
            node.join(self.nodes[0], [each.node_name for each in self.nodes])

    @property
    def mqtt_url(self) -> str:
        hosts = ",".join(f"{HOST}:{node.port}" for node in self.nodes)
        return f"mqtt://{USER}:{PASSWORD}@{hosts}"

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start()
        return self

    def __exit__(self, *_: object) -> None:
        for node in reversed(self.nodes):
            node.stop()


class Ejabberd(OtherBroker):
    """ejabberd with mod_mqtt, for MQTT 3.1.1 and 5."""

    name = "ejabberd"

    @property
    def mqtt_url(self) -> str:
        return f"mqtt://{USER}%40localhost:{PASSWORD}@{HOST}:{self.port}"

    def _prepare(self) -> None:
        self._code = installed("usr/lib/*/ejabberd-*/ebin", "ejabberd")
        self._write(
            "ejabberd.yml",
            "hosts: [localhost]\nloglevel: warning\n"
            f"listen:\n  - {{port: {self.port}, ip: '{HOST}', module: mod_mqtt, backlog: 1000}}\n"
            "auth_method: [anonymous]\nanonymous_protocol: login_anon\nallow_multiple_connections: true\n"
            "modules:\n  mod_mqtt:\n    session_expiry: 24 hours\n    max_queue: infinity\n",
        )

    def _command(self) -> ProcessSpec:
        erl = shutil.which("erl") or be_without("erl is not installed: `apt-get install erlang-base`")
        own = self._directory
        return self._run(
            [erl, "-noinput", "-pa", self._code, "-mnesia", "dir", f'"{own / "mnesia"}"', "-s", "ejabberd"],
            EJABBERD_CONFIG_PATH=str(own / "ejabberd.yml"),
            EJABBERD_LOG_PATH=str(own / "ejabberd.log"),
        )
