"""Settings: errors name the setting, secrets are not shown, and README's table equals the code."""

import re
from pathlib import Path

import pytest
from pydantic.fields import FieldInfo

from ingest.settings import IngestSettings
from jobs.settings import Cadence, JobsSettings
from schemas.programs.settings import ProgramSettings, Settings, SettingsError
from serving.settings import ServingSettings

README = Path(__file__).resolve().parents[2] / "README.md"
PROGRAMS: tuple[type[ProgramSettings], ...] = (IngestSettings, JobsSettings, ServingSettings)
SECRET = "s3cr3t-w0rd"  # noqa: S105
DATABASE_URL = f"postgresql://grid:{SECRET}@db:5432/gridgate"
MQTT_URL = f"mqtt://grid:{SECRET}@broker:1883"


def fields() -> dict[str, FieldInfo]:
    """Every setting of the three programs, by its variable."""
    every = (field for program in PROGRAMS for field in program.model_fields.values())
    return {str(field.validation_alias): field for field in every}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Nothing of ours but the two variables without a default."""
    for variable in fields():
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("DATABASE_URL", DATABASE_URL)
    monkeypatch.setenv("MQTT_URL", MQTT_URL)
    return monkeypatch


def complaint(program: type[Settings]) -> str:
    with pytest.raises(SettingsError) as refused:
        program.from_environment()
    for told in (str(refused.value), repr(refused.value), repr(refused.value.__cause__)):
        assert SECRET not in told
    assert refused.value.__suppress_context__
    return str(refused.value)


@pytest.mark.parametrize("program", PROGRAMS)
def test_defaults_are_enough(program: type[ProgramSettings]) -> None:
    assert program.from_environment().database_url == DATABASE_URL


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_missing_variable_is_named(program: type[ProgramSettings], environment: pytest.MonkeyPatch) -> None:
    environment.delenv("DATABASE_URL")
    assert complaint(program) == "DATABASE_URL: is not set, and has no default"


def test_the_schedule_needs_no_database(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("DATABASE_URL")
    assert Cadence.from_environment().snapshot_every_s > 0


WRONG: list[tuple[type[ProgramSettings], str, str]] = [
    *((program, "DATABASE_URL", f"mysql://grid:{SECRET}@db/x") for program in PROGRAMS),
    (IngestSettings, "DATABASE_URL", SECRET),
    (IngestSettings, "DATABASE_URL", "postgresql://"),
    *(
        (ServingSettings, "DATABASE_URL", f"postgresql://grid:{SECRET}{rest}")
        for rest in ("@[db/x", "@db:port/x", "%zz@db/x", "@db@db/x", f"@{SECRET}@db?application_name=x")
    ),
    (ServingSettings, "DATABASE_READ_URL", f"postgresql://grid:{SECRET}@[db/x"),
    (JobsSettings, "ARCHIVE_URL", f"https://me:{SECRET}@host/x"),
    (JobsSettings, "ARCHIVE_URL", "/srv/archive"),
    (JobsSettings, "ARCHIVE_URL", "s3://"),
    (JobsSettings, "ARCHIVE_AFTER_DAYS", "0"),
    (IngestSettings, "LOG_LEVEL", "loud"),
    (IngestSettings, "LOG_FORMAT", ""),
    (IngestSettings, "MQTT_URL", f"http://grid:{SECRET}@broker"),
    (IngestSettings, "MQTT_URL", f"mqtt://grid:{SECRET}@"),
    (IngestSettings, "MQTT_URL", f"mqtt://grid:{SECRET}@broker/path"),
    (IngestSettings, "MQTT_URL", f"mqtt://grid:{SECRET}@[::1"),
    (IngestSettings, "MQTT_PROTOCOL", "4"),
    (IngestSettings, "MQTT_CLIENT_ID", ""),
    (IngestSettings, "MQTT_TOPICS", ""),
    (IngestSettings, "MQTT_SHARE_GROUP", "a/b"),
    (IngestSettings, "MQTT_SESSION_EXPIRY_S", "-1"),
    (IngestSettings, "MQTT_RECEIVE_MAXIMUM", "65536"),
    (IngestSettings, "INGEST_BATCH_MESSAGES", "0"),
    (IngestSettings, "INGEST_MAX_AHEAD_S", "nan"),
    (IngestSettings, "INGEST_MAX_PAYLOAD_BYTES", "16777217"),
    (IngestSettings, "INGEST_MAX_LOADS_OF_VEN", "0"),
    (IngestSettings, "INGEST_MAX_VENS", "many"),
    (IngestSettings, "INGEST_MAX_LOAD_TYPES", "-1"),
    (JobsSettings, "RETENTION_REJECTED_MB", "0"),
    (JobsSettings, "RETENTION_STATUSES_DAYS", "0"),
    (IngestSettings, "MQTT_TOPICS", "oadr/meter/+,a/#/b"),
    (IngestSettings, "MQTT_TOPICS", "oadr/meter/x+"),
    (IngestSettings, "INGEST_READY_FILE", "/nowhere/ready"),
    (JobsSettings, "JOBS_SNAPSHOT_EVERY_S", "0"),
    (JobsSettings, "JOBS_PRESENCE_EVERY_S", "1e99"),
    (JobsSettings, "JOBS_HISTORY_EVERY_S", "often"),
    (JobsSettings, "EVENT_BASELINE", "high-6-of-10"),
    (JobsSettings, "TIME_ZONE", "Berlin"),
    (JobsSettings, "TIME_ZONE", "../UTC"),
    (JobsSettings, "HOLIDAYS", "US,Bavaria"),
    (JobsSettings, "HOLIDAYS", "ZZ"),
    (JobsSettings, "HOLIDAYS", "US-ZZ"),
    (JobsSettings, "HOLIDAYS", "2026-02-30"),
    (JobsSettings, "BASELINE_CAP_PERCENT", "100"),
    (JobsSettings, "SETTLEMENT_GRACE_S", "-1"),
    (JobsSettings, "RETENTION_RAW_DAYS", "0"),
    (JobsSettings, "RETENTION_1M_DAYS", "30"),
    (JobsSettings, "RETENTION_1H_DAYS", "30"),
    (ServingSettings, "HTTP_HOST", ""),
    (ServingSettings, "HTTP_HOST", "gateway.example"),
    (ServingSettings, "CORS_ORIGINS", "ui.example"),
    (ServingSettings, "CORS_ORIGINS", "https://ui.example/path"),
    (ServingSettings, "HTTP_PORT", "65536"),
    (ServingSettings, "HTTP_WORKERS", "1.5"),
    (ServingSettings, "HTTP_THREADS", "0"),
    (ServingSettings, "HTTP_AUTH", "none"),
    (ServingSettings, "HTTP_MAX_BODY_BYTES", "0"),
    (ServingSettings, "HTTP_RATE_PER_S", "inf"),
    (ServingSettings, "HTTP_TRUSTED_PROXIES", "proxy.example"),
    (ServingSettings, "HTTP_TRUSTED_PROXIES", "10.1.0.1/16"),
    (ServingSettings, "HTTP_PAGE_POLICY", "default-src 'self'\nSet-Cookie: a=b"),
]


@pytest.mark.parametrize(("program", "variable", "value"), WRONG)
def test_a_wrong_variable_is_named(
    program: type[ProgramSettings], variable: str, value: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(variable, value)
    told = complaint(program)
    assert re.fullmatch(rf"{variable}: .+", told)


def test_every_wrong_variable_has_a_line(environment: pytest.MonkeyPatch) -> None:
    environment.delenv("DATABASE_URL")
    environment.setenv("HTTP_PORT", "0")
    environment.setenv("HTTP_THREADS", "x")
    lines = complaint(ServingSettings).splitlines()
    assert {line.partition(":")[0] for line in lines} == {"DATABASE_URL", "HTTP_PORT", "HTTP_THREADS"}


UNNOTICED: list[tuple[type[ProgramSettings], str, str]] = [
    (IngestSettings, "MQTT_URL", "mqtt://broker:99999"),
    (IngestSettings, "MQTT_URL", "mqtt://broker:port"),
    (IngestSettings, "MQTT_TOPICS", " , "),
    (IngestSettings, "INGEST_MAX_AHEAD_S", "inf"),
    (IngestSettings, "INGEST_MAX_AHEAD_S", "1e20"),
    (JobsSettings, "JOBS_SNAPSHOT_EVERY_S", "inf"),
]


@pytest.mark.parametrize(("program", "variable", "value"), UNNOTICED)
def test_what_cannot_work_is_named_at_the_start(
    program: type[ProgramSettings], variable: str, value: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(variable, value)
    assert re.fullmatch(rf"{variable}: .+", complaint(program))


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_spellings_of_the_database_url(scheme: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DATABASE_URL", f"{scheme}://u@h/d")
    assert JobsSettings.from_environment().database_url == "postgresql://u@h/d"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://h1:5432,h2:5433/d?target_session_attrs=read-write",
        "postgresql:///?service=shared&passfile=/etc/grid%20gate/pass",
    ],
)
def test_whatever_libpq_reads_is_a_database_url(url: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DATABASE_URL", url)
    assert JobsSettings.from_environment().database_url == url


def test_subscriptions(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("MQTT_TOPICS", "a/+, b/c,")
    assert IngestSettings.from_environment().subscriptions == ["a/+", "b/c"]
    environment.setenv("MQTT_SHARE_GROUP", "g")
    assert IngestSettings.from_environment().subscriptions == ["$share/g/a/+", "$share/g/b/c"]


def test_origins(environment: pytest.MonkeyPatch) -> None:
    assert ServingSettings.from_environment().allowed_origins == []
    environment.setenv("CORS_ORIGINS", "http://a, http://b")
    assert ServingSettings.from_environment().allowed_origins == ["http://a", "http://b"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7"])  # noqa: S104 - what is refused
def test_keys_are_asked_for_beyond_loopback(host: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTP_HOST", host)
    assert ServingSettings.from_environment().policy.needs_keys
    environment.setenv("HTTP_AUTH", "off")
    told = complaint(ServingSettings)
    for word in ("HTTP_AUTH", host, "HTTP_AUTH=keys", "keys create", "HTTP_HOST=127.0.0.1"):
        assert word in told


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.7"])
def test_keys_may_be_left_out_at_home_if_told_so(host: str, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("HTTP_HOST", host)
    assert ServingSettings.from_environment().policy.needs_keys
    environment.setenv("HTTP_AUTH", "off")
    assert not ServingSettings.from_environment().policy.needs_keys


@pytest.mark.parametrize("variable", fields())
def test_every_setting_is_described(variable: str) -> None:
    assert re.fullmatch(r"[A-Z][A-Z0-9_]+", variable)
    description = fields()[variable].description
    assert description
    assert not description.endswith(".")


WORDS: list[tuple[type[ProgramSettings], str, str, str, str]] = [
    (JobsSettings, "LOG_LEVEL", "INFO", "log_level", "info"),
    (ServingSettings, "LOG_FORMAT", " Json ", "log_format", "json"),
    (ServingSettings, "HTTP_HTTPS", "YES", "http_https", "yes"),
    (ServingSettings, "HISTORY_AGGREGATE", "Mean", "history_aggregate", "mean"),
    (IngestSettings, "INGEST_COMMANDS", "OFF", "command_dispatcher", "off"),
    (JobsSettings, "EVENT_BASELINE", "10-OF-10", "primary_baseline", "10-of-10"),
]


@pytest.mark.parametrize(("program", "variable", "value", "field", "expected"), WORDS)
def test_words_may_be_written_in_capitals(
    program: type[ProgramSettings],
    variable: str,
    value: str,
    field: str,
    expected: str,
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv(variable, value)
    assert getattr(program.from_environment(), field) == expected


SHOWN: list[tuple[type[ProgramSettings], str, str, str]] = [
    (ServingSettings, "HTTP_PORT", "99999", "not '99999'"),
    (ServingSettings, "LOG_LEVEL", "loud", "not 'loud'"),
    (JobsSettings, "RETENTION_RAW_DAYS", "0", "not '0'"),
    (JobsSettings, "TIME_ZONE", "Berlin", "not 'Berlin'"),
    (JobsSettings, "TIME_ZONE", "x" * 1_000, "not 'xxx"),
    (IngestSettings, "INGEST_READY_FILE", "/nowhere/ready", "not '/nowhere/ready'"),
    (ServingSettings, "CORS_ORIGINS", f"https://me:{SECRET}@ui.example/x", "not 'https://...@ui.example/x'"),
    (ServingSettings, "HTTP_HOST", f"gg_0123456789ab_{'a' * 64}", "not 'gg_0123456789ab_...'"),
]


@pytest.mark.parametrize(("program", "variable", "value", "shown"), SHOWN)
def test_the_value_is_shown_without_secrets(
    program: type[ProgramSettings], variable: str, value: str, shown: str, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv(variable, value)
    message = complaint(program)
    assert shown in message
    assert len(message) < 250
    assert "a" * 64 not in message


@pytest.mark.parametrize("variable", ["DATABASE_URL", "DATABASE_READ_URL", "MQTT_URL"])
def test_urls_that_may_hold_a_password_are_not_shown(variable: str, environment: pytest.MonkeyPatch) -> None:
    program = IngestSettings if variable == "MQTT_URL" else ServingSettings
    environment.setenv(variable, SECRET)
    assert " not " not in complaint(program)


# The README


def readme_table() -> dict[str, dict[str, str]]:
    """The row of each variable in the table under `## Settings`, by column."""
    section = README.read_text().partition("\n## Settings\n")[2].partition("\n## ")[0]
    lines = [line.strip() for line in section.splitlines() if line.lstrip().startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert rows, "README.md has no table under ## Settings"
    named = [dict(zip(rows[0], row, strict=True)) for row in rows[1:]]
    return {row[rows[0][0]].strip("`"): row for row in named if row[rows[0][0]].startswith("`")}


def code_of(cell: str) -> str | None:
    match = re.search(r"`([^`]*)`", cell)
    return match[1].replace("_", "") if match and re.fullmatch(r"[\d_]+", match[1]) else match and match[1]


def test_the_readme_names_exactly_the_settings() -> None:
    assert readme_table().keys() == fields().keys()


@pytest.mark.parametrize("variable", fields())
def test_the_readme_tells_the_default(variable: str) -> None:
    field = fields()[variable]
    has_default = not field.is_required() and field.default not in {None, ""}
    told = code_of(readme_table()[variable]["Default"])
    assert (told or None) == (str(field.default) if has_default else None)


@pytest.mark.parametrize("variable", fields())
def test_the_readme_tells_what_it_means(variable: str) -> None:
    assert readme_table()[variable]["Meaning"] == fields()[variable].description
