"""Each program ends with the code that tells its supervisor whether to start it again."""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from local.broker import EmbeddedBroker
from local.environment import REPOSITORY, inherited_environment
from local.ports import HOST, free_ports
from schemas.programs.exits import FAILED, TRY_AGAIN, WRONG_USAGE
from tests.integration.listening import listening

pytestmark = pytest.mark.thorough  # each test starts a program, or several

WITHIN_S = 60
NOBODY = "postgresql://nobody@/nothing?host=/nonexistent"
BROKER = "mqtt://127.0.0.1:9"
PROGRAMS = [
    ["ingest"],
    ["ingest", "retire"],
    ["ingest", "rejected"],
    ["jobs"],
    ["jobs", "catch-up"],
    ["serving"],
    ["serving", "keys", "list"],
    ["serving", "audit"],
    ["alembic", "upgrade", "head"],
]
AT_A_TERMINAL = [words for words in PROGRAMS if len(words) > 1 and words != ["ingest", "retire"]]


def run(words: list[str], **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=REPOSITORY,
        env=inherited_environment(**settings),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


@pytest.mark.parametrize("words", PROGRAMS, ids=" ".join)
@pytest.mark.parametrize("url", [{}, {"DATABASE_URL": "mysql://me:s3cr3t@host/x"}], ids=["none", "wrong"])
def test_wrong_settings_end_every_program_with_2(words: list[str], url: dict[str, str]) -> None:
    done = run(words, MQTT_URL=BROKER, **url)
    assert done.returncode == WRONG_USAGE, done.stderr
    assert done.stderr.startswith("DATABASE_URL: ")
    assert "Traceback" not in done.stderr
    assert "s3cr3t" not in done.stderr


@pytest.mark.parametrize("words", AT_A_TERMINAL, ids=" ".join)
def test_an_absent_database_is_no_reason_to_give_up(words: list[str]) -> None:
    done = run(words, DATABASE_URL=NOBODY)
    assert done.returncode == TRY_AGAIN, done.stderr
    assert "The database failed" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", AT_A_TERMINAL[:-1], ids=" ".join)
def test_a_database_without_tables_may_get_them(words: list[str], empty_database_url: str) -> None:
    done = run(words, DATABASE_URL=empty_database_url)
    assert done.returncode == TRY_AGAIN, done.stderr
    assert "migrat" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("program", "variable"),
    [("ingest", "INGEST_HTTP_PORT"), ("jobs", "JOBS_HTTP_PORT"), ("serving", "HTTP_PORT")],
)
def test_a_port_in_use_may_become_free(program: str, variable: str) -> None:
    with listening() as port:
        done = run([program], DATABASE_URL=NOBODY, MQTT_URL=BROKER, **{variable: str(port)})
    assert done.returncode == TRY_AGAIN, done.stderr
    assert f"{variable}: {HOST}:{port} is in use" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("program", ["local", "analysis.sample"])
def test_a_data_directory_that_cannot_be_used_is_a_wrong_option(program: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run([program, "--data-dir", str(tmp_path / "file" / "below")])
    assert done.returncode == WRONG_USAGE
    assert "choose another --data-dir" in done.stdout + done.stderr


FLEET = ["local.fleet", "--vens", "1", "--mqtt-url"]
FIXTURES = ["local.fixtures", "--http-url", "http://127.0.0.1:9", "--mqtt-url"]


@pytest.mark.parametrize("words", [FLEET, FIXTURES], ids=lambda words: words[0])
def test_a_broker_that_cannot_be_meant_is_a_wrong_argument(words: list[str]) -> None:
    done = run([*words, "http://127.0.0.1:1"])
    assert done.returncode == WRONG_USAGE
    assert "'http://127.0.0.1:1' is not of the form mqtt://host:port" in done.stderr


@pytest.mark.parametrize("words", [FLEET, FIXTURES], ids=lambda words: words[0])
def test_a_broker_that_does_not_answer_may_come(words: list[str]) -> None:
    [port] = free_ports(1)
    done = run([*words, f"mqtt://{HOST}:{port}"])
    assert done.returncode == TRY_AGAIN, done.stderr
    assert f"no answer from mqtt://{HOST}:{port}" in done.stderr
    assert "Traceback" not in done.stderr


def openadr_fleet(directory: Path) -> list[str]:
    """A fleet of one VEN with invented secrets."""
    secrets = {"simulated-utility": "x", "openadr-0001": "x"}
    (directory / "clients.json").write_text(json.dumps(secrets))
    return ["local.openadr", "run", "--vens", "1", "--credentials", str(directory / "clients.json")]


def test_a_vtn_that_does_not_answer_may_come(tmp_path: Path) -> None:
    [port] = free_ports(1)
    done = run([*openadr_fleet(tmp_path), "--http-url", f"http://{HOST}:{port}"])
    assert done.returncode == TRY_AGAIN, done.stderr
    assert "/auth/token" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_client_without_a_secret_is_named(tmp_path: Path) -> None:
    done = run([*openadr_fleet(tmp_path), "--vens", "2", "--http-url", f"http://{HOST}:1"])
    assert done.returncode == FAILED, done.stderr
    assert "no secret of 'openadr-0002': run `prepare` first" in done.stderr
    assert "Traceback" not in done.stderr


def test_clients_are_made_once_the_database_answers(tmp_path: Path) -> None:
    prepare = ["local.openadr", "prepare", "--vens", "1", "--credentials", str(tmp_path / "clients.json")]
    [port] = free_ports(1)
    done = run(prepare, DATABASE_URL=f"postgresql://{HOST}:{port}/none")
    assert done.returncode == TRY_AGAIN, done.stderr
    done = run(prepare, DATABASE_URL="mysql://x")
    assert done.returncode == WRONG_USAGE, done.stderr
    assert "Traceback" not in done.stderr


def test_a_truth_that_cannot_be_written_is_a_wrong_option(tmp_path: Path) -> None:
    done = run([*FLEET, BROKER, "--truth", str(tmp_path / "none" / "truth")])
    assert done.returncode == WRONG_USAGE, done.stderr
    assert "--truth: cannot write to " in done.stderr
    assert "Traceback" not in done.stderr


def test_fixtures_try_again_where_the_api_does_not_answer(tmp_path: Path) -> None:
    mqtt, mqtt5 = free_ports(2)
    with EmbeddedBroker(tmp_path, mqtt_port=mqtt, mqtt5_port=mqtt5) as broker:
        done = run([*FIXTURES, broker.mqtt_url])
    assert done.returncode == TRY_AGAIN, done.stderr
    assert done.stderr.startswith("fixtures: ")
    assert "Traceback" not in done.stderr


def test_local_names_all_ports_in_use_at_once(tmp_path: Path) -> None:
    with ExitStack() as stack:
        http, mqtt = (stack.enter_context(listening()) for _ in range(2))
        [mqtt5] = free_ports(1)
        ports = ["--http-port", str(http), "--mqtt-port", str(mqtt), "--mqtt5-port", str(mqtt5)]
        done = run(["local", "--data-dir", str(tmp_path), *ports])
    assert done.returncode == TRY_AGAIN
    assert f"port {http} is in use by" in done.stdout
    assert f"port {mqtt} is in use by" in done.stdout
    assert f"port {mqtt5} is" not in done.stdout


@pytest.mark.parametrize("program", [["jobs", "list"], ["ingest", "rejected"], ["serving", "keys", "list"]])
def test_a_misspelt_variable_is_warned_of_at_a_terminal(program: list[str], database_url: str) -> None:
    done = run(program, DATABASE_URL=database_url, RETENTION_RAW_DAY="30")
    assert done.returncode == 0
    assert "RETENTION_RAW_DAY is not a setting" in done.stderr
    assert "RETENTION_RAW_DAYS?" in done.stderr
    assert "RETENTION" not in done.stdout


@pytest.mark.parametrize("program", ["ingest", "jobs", "serving"])
def test_a_misspelt_variable_is_warned_of_in_the_log(program: str) -> None:
    with listening() as port:
        ports = {name: str(port) for name in ("HTTP_PORT", "JOBS_HTTP_PORT", "INGEST_HTTP_PORT")}
        done = run(
            [program], DATABASE_URL=NOBODY, MQTT_URL=BROKER, MQTT_TOPIC="x", LOG_FORMAT="json", **ports
        )
    assert '"nearest": "MQTT_TOPICS"' in done.stdout


def test_a_wrong_word_is_a_wrong_argument(database_url: str) -> None:
    create = ["serving", "keys", "create", "ops", "--role", "viewer", "--expires"]
    for when in ("2020-01-01", "soon"):
        done = run([*create, when], DATABASE_URL=database_url)
        assert (done.returncode, "--expires" in done.stderr) == (WRONG_USAGE, True)
