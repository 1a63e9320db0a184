"""`python -m ingest` over TLS, with certificates and passwords: let in, refused loudly, and discreet.

The broker wants a certificate of its clients, and a password; so does PostgreSQL want a password.
"""

import json
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import paho.mqtt.publish as mqtt_publish
import psycopg
import pytest
import trustme
from psycopg import sql

from local.ports import HOST, free_ports
from schemas.programs.exits import WRONG_USAGE
from tests.faults.deadline import until
from tests.faults.mosquitto import Mosquitto
from tests.faults.program import Ingest
from tests.faults.requirement import be_without
from tests.integration.postgres_tls import tls_in_front

pytestmark = pytest.mark.thorough  # programs are started, and ended

WITHIN_S = 20.0
USER = "gridgate"
BROKER_PASSWORD = "pa@ss/of:the?broker"  # noqa: S105 - of this test alone
DATABASE_PASSWORD = "pa@ss/of:the?database"  # noqa: S105
WRONG_PASSWORD = "pa@ss/of:somebody"  # noqa: S105


@dataclass(frozen=True)
class Papers:
    """Certificates of one authority, as files, and the password file of the broker."""

    authority: Path
    another_authority: Path
    server: Path
    client: Path
    client_key: Path
    passwords: Path

    @classmethod
    def issue(cls, directory: Path) -> "Papers":
        authority = trustme.CA()
        client = authority.issue_cert("ingest.example")
        papers = cls(
            *(directory / name for name in ("ca", "other-ca", "server", "client", "key", "passwords"))
        )
        authority.cert_pem.write_to_path(papers.authority)
        trustme.CA().cert_pem.write_to_path(papers.another_authority)
        authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(papers.server)
        client.cert_chain_pems[0].write_to_path(papers.client)
        client.private_key_pem.write_to_path(papers.client_key)
        _write_passwords(papers.passwords)
        return papers

    def secrets(self) -> list[str]:
        """Secrets that must appear nowhere."""
        passwords = [BROKER_PASSWORD, DATABASE_PASSWORD, WRONG_PASSWORD]
        key = self.client_key.read_text().splitlines()[1:-1]
        return [*passwords, *(quote(password, safe="") for password in passwords), *key]


def _write_passwords(file: Path) -> None:
    program = shutil.which("mosquitto_passwd")
    if program is None:
        be_without("mosquitto_passwd is not installed: `apt-get install mosquitto`")
    subprocess.run([program, "-c", "-b", str(file), USER, BROKER_PASSWORD], check=True)


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers.issue(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def broker(papers: Papers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    access = f"""
cafile {papers.authority}
certfile {papers.server}
keyfile {papers.server}
require_certificate true
allow_anonymous false
password_file {papers.passwords}
"""
    mosquitto = Mosquitto(tmp_path_factory.mktemp("broker"), access)
    mosquitto.start()
    yield mosquitto
    mosquitto.stop()


@dataclass
class Watched:
    """A worker, its log, and its /health."""

    worker: Ingest
    http_port: int

    def says(self) -> str:
        assert self.worker.log is not None
        return self.worker.log.read_text()

    def shows(self, path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://{HOST}:{self.http_port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as error:
            with error:
                return error.read().decode()

    def until_said(self, text: str, times: int = 1) -> None:
        until(lambda: self.says().count(text) >= times, WITHIN_S, lambda: f"no {text!r} in:\n{self.says()}")

    def betrays(self, secrets: list[str]) -> list[str]:
        everything = self.says() + self.shows("/metrics") + self.shows("/health")
        return [secret for secret in secrets if secret in everything]


Launch = Callable[..., Watched]


@pytest.fixture
def launch(papers: Papers, broker: Mosquitto, database_url: str, tmp_path: Path) -> Iterator[Launch]:
    """Start a worker with valid settings, except those given; None removes a setting."""
    launched: list[Watched] = []
    right = {
        "MQTT_CA_FILE": str(papers.authority),
        "MQTT_CERT_FILE": str(papers.client),
        "MQTT_KEY_FILE": str(papers.client_key),
        "LOG_LEVEL": "debug",
        "INGEST_WORKERS": "1",
    }

    def launch_one(
        name: str,
        *,
        host: str = HOST,
        password: str = BROKER_PASSWORD,
        database: str = database_url,
        **settings: str | None,
    ) -> Watched:
        (http_port,) = free_ports(1)
        chosen = right | settings | {"INGEST_HTTP_PORT": str(http_port)}
        given = {key: value for key, value in chosen.items() if value is not None}
        mqtt_url = f"mqtts://{USER}:{quote(password, safe='')}@{host}:{broker.port}"
        launched.append(Watched(Ingest(tmp_path, database, mqtt_url, name, **given), http_port))
        launched[-1].worker.launch()
        return launched[-1]

    yield launch_one
    for each in launched:
        each.worker.kill()


@pytest.fixture
def publish(papers: Papers, broker: Mosquitto) -> Callable[[str], None]:
    def publish_one(ven_id: str) -> None:
        mqtt_publish.single(
            f"oadr/meter/{ven_id}",
            json.dumps({"timestamp": time.time(), "usedPowerKw": 1.0}),
            qos=1,
            hostname=HOST,
            port=broker.port,
            auth={"username": USER, "password": BROKER_PASSWORD},
            tls={
                "ca_certs": str(papers.authority),
                "certfile": str(papers.client),
                "keyfile": str(papers.client_key),
            },
        )

    return publish_one


def vens(database_url: str) -> set[str]:
    with psycopg.connect(database_url) as connection:
        return {ven_id for (ven_id,) in connection.execute("SELECT ven_id FROM ven_telemetry")}


def workers(database_url: str) -> set[str]:
    with psycopg.connect(database_url) as connection:
        return {worker for (worker,) in connection.execute("SELECT worker FROM ingest_batches")}


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_the_right_papers_let_in_and_wrong_ones_are_refused_loudly(
    launch: Launch, publish: Callable[[str], None], papers: Papers, database_url: str, protocol: str
) -> None:
    """Each refused worker names the setting to check, keeps trying, and stores nothing."""
    right = launch(f"right-{protocol}", MQTT_PROTOCOL=protocol)
    other_ca = str(papers.another_authority)
    refused = {
        "MQTT_CA_FILE": launch(f"ca-{protocol}", MQTT_PROTOCOL=protocol, MQTT_CA_FILE=other_ca),
        "MQTT_CERT_FILE": launch(
            f"cert-{protocol}", MQTT_PROTOCOL=protocol, MQTT_CERT_FILE=None, MQTT_KEY_FILE=None
        ),
        "MQTT_URL": launch(f"password-{protocol}", MQTT_PROTOCOL=protocol, password=WRONG_PASSWORD),
        "not valid for 'localhost'": launch(f"host-{protocol}", MQTT_PROTOCOL=protocol, host="localhost"),
    }
    right.worker.wait_ready()
    publish("ven-7")
    until(lambda: vens(database_url) == {"ven-7"}, WITHIN_S, right.says)
    for text, each in refused.items():
        each.until_said(text, times=2)
        assert "broker_connected" not in each.says()
        assert text in each.shows("/health")
        assert each.worker.child.exit_code is None
    assert workers(database_url) == {f"right-{protocol}"}
    for each in (right, *refused.values()):
        assert each.betrays(papers.secrets()) == []


def test_a_key_of_another_certificate_ends_it_at_once(launch: Launch, papers: Papers) -> None:
    watched = launch("other-key", MQTT_KEY_FILE=str(papers.server))
    assert watched.worker.child.wait(WITHIN_S)
    assert watched.worker.child.exit_code == WRONG_USAGE
    assert "MQTT_CERT_FILE, MQTT_KEY_FILE: " in watched.says()
    assert not [secret for secret in papers.secrets() if secret in watched.says()]


@pytest.fixture
def guarded_database(papers: Papers, database_url: str) -> Iterator[Callable[[str, Path], str]]:
    """The test's database behind TLS and a password: gives its URL with a password, and whom to trust."""
    database, server_dir = database_url.removeprefix("postgresql://postgres@/").split("?host=")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(papers.server)
    with (
        psycopg.connect(database_url, autocommit=True) as admin,
        PasswordRequired(admin),
        tls_in_front(context, f"{server_dir}/.s.PGSQL.5432") as port,
    ):

        def url(password: str, authority: Path) -> str:
            who = f"{USER}:{quote(password, safe='')}@{HOST}:{port}"
            return f"postgresql://{who}/{database}?sslmode=verify-full&sslrootcert={authority}"

        yield url


class PasswordRequired:
    """A role that PostgreSQL lets in by its password only."""

    def __init__(self, admin: psycopg.Connection) -> None:
        self._admin = admin
        row = admin.execute("SHOW hba_file").fetchone()
        assert row is not None
        self._rules = Path(row[0])
        self._before = self._rules.read_text()

    def __enter__(self) -> None:
        create = sql.SQL("CREATE ROLE {} SUPERUSER LOGIN PASSWORD {}")
        self._admin.execute(create.format(sql.Identifier(USER), DATABASE_PASSWORD))
        self._rules.write_text(f"local all {USER} scram-sha-256\n{self._before}")
        self._admin.execute("SELECT pg_reload_conf()")

    def __exit__(self, *_: object) -> None:
        self._rules.write_text(self._before)
        self._admin.execute("SELECT pg_reload_conf()")
        for farewell in ("REASSIGN OWNED BY {} TO postgres", "DROP OWNED BY {}", "DROP ROLE {}"):
            self._admin.execute(sql.SQL(farewell).format(sql.Identifier(USER)))


def test_the_database_over_tls_with_a_password(
    launch: Launch,
    publish: Callable[[str], None],
    papers: Papers,
    database_url: str,
    guarded_database: Callable[[str, Path], str],
) -> None:
    """A worker that the database refuses, or that does not trust it, logs that and keeps the messages."""
    refused = launch("db-refused", database=guarded_database(WRONG_PASSWORD, papers.authority))
    wary = launch("db-wary", database=guarded_database(DATABASE_PASSWORD, papers.another_authority))
    for each in (refused, wary):
        each.worker.wait_ready()
    publish("ven-8")
    refused.until_said("password authentication failed", times=2)
    wary.until_said("certificate verify failed", times=2)
    assert vens(database_url) == set()
    right = launch("db-right", database=guarded_database(DATABASE_PASSWORD, papers.authority))
    right.worker.wait_ready()
    publish("ven-9")
    until(lambda: vens(database_url) == {"ven-9"}, WITHIN_S, right.says)
    for each in (refused, wary, right):
        assert each.betrays(papers.secrets()) == []
