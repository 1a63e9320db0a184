"""The command line of `python -m local`, and the rules that need no process."""

from argparse import ArgumentTypeError
from pathlib import Path

import pytest

from local.environment import inherited_environment
from local.options import http_url, mqtt_url, parse_options
from local.programs import StackPrograms
from local.service import describe_exit
from local.supervisor import restart_pause_s
from schemas.programs.settings import AskingSettings


def test_the_defaults() -> None:
    options = parse_options([])
    assert (options.http_port, options.mqtt_port, options.mqtt5_port) == (8000, 1883, 1884)
    assert (options.fleet, options.interval, options.backfill, options.ready_file) == (0, 5.0, 0.0, None)
    assert options.openadr_fleet == 0


def test_every_option() -> None:
    words = "--data-dir d --http-port 1 --mqtt-port 2 --mqtt5-port 3 --fleet 4 --interval 0.5 --seed -6"
    events = "--opt-out 0.2 --mute 0 --daily-events --steady --truth t"
    options = parse_options([*words.split(), *events.split(), "--backfill", "1.5", "--ready-file", "f"])
    assert options.data_dir == Path("d")
    assert options.ports == {"--http-port": 1, "--mqtt-port": 2, "--mqtt5-port": 3}
    assert (options.fleet, options.interval, options.seed, options.backfill) == (4, 0.5, -6, 1.5)
    assert options.ready_file == Path("f")
    assert (options.opt_out, options.mute, options.daily_events, options.steady) == (0.2, 0, True, True)
    assert options.truth == Path("t")


@pytest.mark.parametrize("url", ["mqtt://127.0.0.1:1883", "mqtt://broker", "mqtt://[::1]:1883/"])
def test_urls_of_a_broker(url: str) -> None:
    assert mqtt_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:1883",
        "mqtts://broker",
        "mqtt://",
        "mqtt://a:b",
        "mqtt://a:0",
        "mqtt://a/b",
        "mqtt://[a",
    ],
)
def test_a_url_that_cannot_be_meant_is_shown(url: str) -> None:
    with pytest.raises(ArgumentTypeError, match="mqtt://host:port") as error:
        mqtt_url(url)
    assert repr(url) in str(error.value)


def test_a_url_that_may_hold_a_password_is_not_shown() -> None:
    with pytest.raises(ArgumentTypeError, match="a URL with a login is not of the form http://host:port"):
        http_url("http://me:s3cr3t@host")


def test_which_servers_run_and_who_may_ask_them() -> None:
    options = parse_options([])
    assert (options.broker, options.postgres, options.cors_origins) == ("auto", "embedded", ())
    origins = ["--cors-origin", "http://localhost:5173", "--cors-origin", "https://ui.example"]
    options = parse_options(["--broker", "mosquitto", "--postgres", "installed", *origins])
    assert (options.broker, options.postgres) == ("mosquitto", "installed")
    assert options.cors_origins == ("http://localhost:5173", "https://ui.example")


@pytest.mark.parametrize("origins", [(), ("http://localhost:5173", "https://ui.example")])
def test_serving_gets_the_origins(origins: tuple[str, ...]) -> None:
    words = [word for origin in origins for word in ("--cors-origin", origin)]
    urls = {"database_url": "postgresql:///x", "mqtt_url": "", "mqtt5_url": ""}
    serving = StackPrograms(parse_options(words), urls).serving()
    assert serving.command.env.get("CORS_ORIGINS", "") == ",".join(origins)


def test_serving_counts_who_is_passed_over_as_the_jobs_do() -> None:
    """POST counted VENs as resting, but jobs selected them: jobs lacked the setting."""
    urls = {"database_url": "postgresql:///x", "mqtt_url": "", "mqtt5_url": ""}
    programs = StackPrograms(parse_options([]), urls)
    jobs, serving = (program().command.env for program in (programs.jobs, programs.serving))
    shared = [str(field.validation_alias) for field in AskingSettings.model_fields.values()]
    asking = [{name: env[name] for name in shared if name in env} for env in (jobs, serving)]
    assert asking[0] == asking[1] == {"EVENTS_REST_S": "0", "EVENTS_MOST_PER_DAY": "1000"}


def test_fixtures_have_a_directory_of_their_own() -> None:
    assert parse_options(["--fixtures"]).data_dir != parse_options([]).data_dir
    assert parse_options(["--fixtures", "--data-dir", "d"]).data_dir == Path("d")


@pytest.mark.parametrize(
    "words",
    [
        "--fleet -1",
        "--fleet 1.5",
        "--fleet ²",
        "--interval 0",
        "--interval -3",
        "--interval nan",
        "--interval inf",
        "--backfill -1",
        "--backfill 3",
        "--opt-out 1.1",
        "--mute none",
        "--http-port 0",
        "--http-port 70000",
        "--http-port web",
        "--http-port 1883",
        "--seed x",
        "--broker hive",
        "--postgres 15",
        "--cors-origin localhost:5173",
        "--cors-origin http://localhost:5173/",
        "--cors-origin http://a,http://b",
    ],
)
def test_what_cannot_work_is_refused_and_the_option_named(
    words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse_options(words.split())
    assert words.partition(" ")[0] in capsys.readouterr().err


def test_stray_variables_do_not_reach_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://production/db")
    monkeypatch.setenv("PATH", "/bin")
    environment = inherited_environment(HTTP_PORT="8000")
    assert "DATABASE_URL" not in environment
    assert (environment["PATH"], environment["HTTP_PORT"]) == ("/bin", "8000")


def test_restarts_slow_down() -> None:
    assert [restart_pause_s(failures) for failures in (1, 2, 3, 7, 500)] == [0.5, 1, 2, 30, 30]


def test_exits_in_words() -> None:
    assert describe_exit(3) == "exit code 3"
    assert describe_exit(-9) == "signal 9"


def test_a_fleet_that_speaks_openadr_needs_no_other() -> None:
    options = parse_options(["--openadr-fleet", "3", "--backfill", "6", "--steady"])
    assert (options.fleet, options.openadr_fleet) == (0, 3)
    assert options.needed_mb == parse_options(["--fleet", "3", "--backfill", "6"]).needed_mb
    urls = {"database_url": "postgresql:///x", "http_url": "http://127.0.0.1:8000", "mqtt_url": ""}
    programs = StackPrograms(options, urls)
    clients, fleet = programs.openadr_clients(), programs.openadr_fleet().command
    assert clients.env["DATABASE_URL"] == "postgresql:///x"
    assert "DATABASE_URL" not in fleet.env
    for words in (clients.argv, fleet.argv):
        assert words[words.index("--vens") + 1] == "3"
    assert fleet.argv[fleet.argv.index("--backfill") + 1] == "6.0"
    assert "--steady" in fleet.argv
