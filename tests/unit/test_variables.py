"""Variables that look like settings and are none."""

import pytest

from ingest.settings import IngestSettings
from jobs.settings import JobsSettings
from schemas.programs.settings import ProgramSettings
from schemas.programs.variables import VARIABLES, unknown_variables, warn_of_unknown_variables
from serving.settings import ServingSettings

PROGRAMS: tuple[type[ProgramSettings], ...] = (IngestSettings, JobsSettings, ServingSettings)


def test_the_names_are_those_of_the_settings() -> None:
    fields = (field for program in PROGRAMS for field in program.model_fields.values())
    assert {str(field.validation_alias) for field in fields} == VARIABLES


@pytest.mark.parametrize(
    ("variable", "nearest"),
    [
        ("RETENTION_RAW_DAY", "RETENTION_RAW_DAYS"),
        ("HTTP_PORTS", "HTTP_PORT"),
        ("MQTT_CLIENTID", "MQTT_CLIENT_ID"),
        ("TIME_ZONES", "TIME_ZONE"),
        ("LOG_LEVELS", "LOG_LEVEL"),
        ("JOBS_ZZZ", None),
    ],
)
def test_a_misspelt_variable_has_a_nearest_one(variable: str, nearest: str | None) -> None:
    assert unknown_variables([variable, "DATABASE_URL"]) == {variable: nearest}


@pytest.mark.parametrize(
    "variable",
    [
        "PATH",
        "http_proxy",
        "HTTP_PROXY",
        "database_url",
        "RETENTION_RAW_DAYS",
        "INGEST_SERVICE_HOST",
        "MQTT_PORT_1883_TCP_ADDR",
        "PYTHONPATH",
    ],
)
def test_variables_of_others_are_left_alone(variable: str) -> None:
    assert unknown_variables([variable]) == {}


def test_each_is_warned_of_with_its_name_alone() -> None:
    warnings = []
    warn_of_unknown_variables(
        {"HTTP_PORTS": "secret"}, lambda event, **fields: warnings.append((event, fields))
    )
    assert warnings == [("unknown_variable", {"variable": "HTTP_PORTS", "nearest": "HTTP_PORT"})]
