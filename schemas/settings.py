"""Settings of the programs: read once from the environment by a `__main__`, checked, and frozen.

Every setting's description is the row of the README's table; a test holds the two together.
"""

from datetime import timedelta
from typing import Annotated, Literal, Self, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from schemas.baselines import BASELINES, GENERIC, PRIMARY, BaselineName
from schemas.broker_url import parse_broker_url
from schemas.load_values import GONE_AFTER


class SettingsError(Exception):
    """Settings that cannot work. The message has a line for each, which names the variable and the fix."""


def _postgresql_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    plain = f"postgresql://{rest}"
    if scheme not in {"postgresql", "postgres", "postgresql+psycopg"} or not rest or not _is_read(plain):
        raise ValueError("expected postgresql://user:password@host:5432/database")
    return plain


def _is_read(url: str) -> bool:
    """Whether both libraries can read it: later, they would tell all of it in the log, password and all."""
    try:
        conninfo_to_dict(url)
        make_url(url)
    except (psycopg.Error, ArgumentError, ValueError):
        return False
    return True


def _broker_url(url: str) -> str:
    try:
        parse_broker_url(url)
    except ValueError:  # its text could hold a part of the password
        raise ValueError(
            "expected mqtt://user:password@host:1883, or mqtts:// for TLS; more hosts after commas"
        ) from None
    return url


DatabaseUrl = Annotated[str, AfterValidator(_postgresql_url)]
BrokerUrl = Annotated[str, AfterValidator(_broker_url)]


class Settings(BaseSettings):
    """Read from the environment, checked, frozen."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    @classmethod
    def from_environment(cls) -> Self:
        """Read the environment.

        Raises:
            SettingsError: a variable is missing or wrong.
        """
        try:
            return cls()
        except ValidationError as error:
            problems = (f"{'.'.join(map(str, e['loc']))}: {_advice(e['msg'])}" for e in error.errors())
            raise SettingsError("\n".join(problems)) from None


class ProgramSettings(Settings):
    """What each of the three programs needs to know."""

    database_url: DatabaseUrl = Field(
        validation_alias="DATABASE_URL",
        description="PostgreSQL 15 or newer: `postgresql://user:password@host/db`",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias="LOG_LEVEL", description="`debug`, `info`, `warning` or `error`"
    )
    log_format: Literal["text", "json"] = Field(
        "text", validation_alias="LOG_FORMAT", description="`text` for people, `json` for machines"
    )


def _baseline_names(listed: str) -> str:
    unknown = [name for name in baseline_names(listed) if name not in BASELINES]
    if unknown:
        raise ValueError(f"expected names of {', '.join(BASELINES)}, or all, not {unknown[0][:40]!r}")
    return listed


def baseline_names(listed: str) -> tuple[BaselineName, ...]:
    """Names of baselines, separated by commas; `all` for every one, nothing for the generic ones."""
    names = [name for part in listed.split(",") if (name := part.strip())]
    if names == ["all"]:
        return tuple(BASELINES)
    return cast(tuple[BaselineName, ...], tuple(names)) or GENERIC


class BaselineSettings(Settings):
    """What jobs that measure and answers that show must have in common."""

    primary_baseline: BaselineName = Field(
        PRIMARY,
        validation_alias="EVENT_BASELINE",
        description="the baseline by which events are measured first",
    )
    listed_baselines: Annotated[str, AfterValidator(_baseline_names)] = Field(
        "",
        validation_alias="EVENT_BASELINES",
        description="the baselines that settlements compute besides, separated by commas, or `all`; without:"
        " those that are no operator's",
    )
    look_back_days: int = Field(
        45,
        ge=1,
        le=366,
        validation_alias="BASELINE_LOOK_BACK_DAYS",
        description="days before an event from which baselines choose similar days",
    )
    adjustment_cap_percent: float = Field(
        20,
        ge=0,
        lt=100,
        validation_alias="BASELINE_CAP_PERCENT",
        description="how far an adjustment to the day of the event may go, up or down",
    )

    def computed_baselines(self) -> tuple[BaselineName, ...]:
        """The baselines of a settlement, always with the first one and what stands in for others."""
        wanted = {self.primary_baseline, "last-samples", *baseline_names(self.listed_baselines)}
        return tuple(name for name in BASELINES if name in wanted)


class LoadSettings(Settings):
    """What jobs that total loads and answers that list them must have in common."""

    loads_gone_after_hours: float = Field(
        GONE_AFTER / timedelta(hours=1),
        ge=0,
        le=876_000,
        validation_alias="LOADS_GONE_AFTER_HOURS",
        description="hours that a load may lie behind its VEN's newest report, by device time, before it"
        " leaves the latest values and totals; 0 for never",
    )

    def loads_gone_after(self) -> timedelta | None:
        """None for never."""
        return timedelta(hours=self.loads_gone_after_hours) or None


def _advice(message: str) -> str:
    if message == "Field required":
        return "is not set, and has no default"
    return message.removeprefix("Value error, ")
