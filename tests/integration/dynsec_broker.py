"""A mosquitto whose plugin dynamic-security decides who may do what, and a client of it."""

import subprocess
import threading
import time
from pathlib import Path
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from local.ports import HOST
from tests.faults.mosquitto import Mosquitto
from tests.faults.requirement import be_without, required_program

ADMIN, ADMIN_PASSWORD = "admin", "admin-password"
PLACES = ("/usr/lib/*/mosquitto_dynamic_security.so", "/usr/lib/mosquitto_dynamic_security.so")
WITHIN_S = 10.0
ACCESS = """\
allow_anonymous {anonymous}
plugin {plugin}
plugin_opt_config_file {configuration}
"""
ANYTHING = (
    ("createRole", "anything"),
    *(
        ("addRoleACL", "anything", kind, "#", "allow")
        for kind in ("publishClientSend", "publishClientReceive", "subscribePattern", "unsubscribePattern")
    ),
    ("createGroup", "anonymous"),
    ("addGroupRole", "anonymous", "anything"),
    ("setAnonymousGroup", "anonymous"),
)
"""Makes a group that is that of clients without a name, and may do anything."""


def plugin() -> Path:
    paths = [path for place in PLACES for path in Path("/").glob(place.lstrip("/"))]
    return paths[0] if paths else be_without("the plugin is missing: `apt-get install mosquitto`")


class DynsecBroker(Mosquitto):
    """Only its administrator may log in at first; with `is_open`, clients without a name may do anything."""

    def __init__(self, data_dir: Path, *, is_open: bool = False) -> None:
        configuration = data_dir.resolve() / "dynamic-security.json"
        anonymous = "true" if is_open else "false"
        super().__init__(
            data_dir, ACCESS.format(anonymous=anonymous, plugin=plugin(), configuration=configuration)
        )
        self._is_open = is_open
        if not configuration.exists():
            control = required_program("mosquitto_ctrl", "mosquitto")
            command = [control, "dynsec", "init", str(configuration), ADMIN, ADMIN_PASSWORD]
            subprocess.run(command, check=True, capture_output=True, timeout=60)

    def start(self) -> None:
        super().start()
        if self._is_open:
            for words in ANYTHING:
                self._control(*words)

    def _control(self, *words: str) -> None:
        control = required_program("mosquitto_ctrl", "mosquitto")
        login = ["-h", HOST, "-p", str(self.port), "-u", ADMIN, "-P", ADMIN_PASSWORD]
        subprocess.run([control, *login, "dynsec", *words], check=True, capture_output=True, timeout=60)

    @property
    def admin_url(self) -> str:
        return f"mqtt://{ADMIN}:{ADMIN_PASSWORD}@{HOST}:{self.port}"


class Client:
    """A VEN that logs in, and reads the broker's reason codes."""

    def __init__(self, port: int, username: str, password: str) -> None:
        self._client = mqtt.Client(
            CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5, reconnect_on_failure=False
        )
        self._client.username_pw_set(username, password)
        self._has_answer = threading.Event()
        self.code = -1
        self.ended = threading.Event()
        self.ended_at = 0.0
        self._client.on_connect = lambda _c, _u, _f, code, _p: self._answer(code.value)
        self._client.on_publish = lambda _c, _u, _m, code, _p: self._answer(code.value)
        self._client.on_subscribe = lambda _c, _u, _m, codes, _p: self._answer(codes[0].value)
        self._client.on_disconnect = lambda *_: self._end()
        self._client.connect(HOST, port)
        self._client.loop_start()
        self.login = self._next_code()

    def _answer(self, code: int) -> None:
        self.code = code
        self._has_answer.set()

    def _end(self) -> None:
        self.ended_at = time.monotonic()
        self.ended.set()

    def _next_code(self) -> int:
        assert self._has_answer.wait(WITHIN_S)
        self._has_answer.clear()
        return self.code

    def publish(self, topic: str) -> int:
        """The reason code of PUBACK."""
        self._client.publish(topic, b"{}", qos=1)
        return self._next_code()

    def subscribe(self, topic: str) -> int:
        """The reason code of SUBACK."""
        self._client.subscribe(topic, qos=1)
        return self._next_code()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def login(port: int, username: str, password: str) -> int:
    """The reason code of CONNACK."""
    with Client(port, username, password) as client:
        return client.login


def published(port: int, login: tuple[str, str], topic: str) -> int:
    """The reason code of PUBACK; mosquitto 2.0.11 hangs up at the second refusal on a connection."""
    with Client(port, *login) as client:
        return client.publish(topic)


def subscribed(port: int, login: tuple[str, str], topic: str) -> int:
    """The reason code of SUBACK."""
    with Client(port, *login) as client:
        return client.subscribe(topic)
