"""Settings of the programs: read once from the environment by a `__main__`, checked, and frozen.

Every setting's description is the row of the README's table; a test compares them.
"""

import re
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Annotated, Literal, Self, cast, get_args, get_origin

import psycopg
from psycopg.conninfo import conninfo_to_dict
from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from schemas.archive.folder import SCHEMES
from schemas.demand_response.baselines import BASELINES, GENERIC, PRIMARY, BaselineName
from schemas.demand_response.candidates import Rest
from schemas.devices.load_values import GONE_AFTER
from schemas.programs.broker_url import parse_broker_url
from schemas.programs.redaction import without_secrets


class SettingsError(Exception):
    """Settings are invalid. The message has a line for each, with the variable and the fix."""


def _postgresql_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    plain = f"postgresql://{rest}"
    if scheme not in {"postgresql", "postgres", "postgresql+psycopg"} or not rest or not _is_read(plain):
        raise ValueError("expected postgresql://user:password@host:5432/database")
    if re.split("[/?]", rest)[0].count("@") > 1:  # libpq would log a part of the password as a host
        raise ValueError("expected one @: write one within the user or the password as %40")
    return plain


def _is_read(url: str) -> bool:
    """Return whether libpq can parse the URL, whose own error would log all of it, with the password."""
    try:
        ports = str(conninfo_to_dict(url).get("port") or "")
    except psycopg.Error:
        return False
    return all(port.isdecimal() for port in ports.split(",") if port)


def _broker_url(url: str) -> str:
    try:
        parse_broker_url(url)
    except ValueError:  # its text could hold a part of the password
        raise ValueError(
            "expected mqtt://user:password@host:1883, or mqtts:// for TLS; more hosts after commas"
        ) from None
    return url


def _address(text: str) -> str:
    try:
        return str(ip_address("127.0.0.1" if text == "localhost" else text))
    except ValueError:
        raise ValueError("expected an IP address, such as 127.0.0.1 or 0.0.0.0") from None


def _networks(text: str) -> str:
    try:
        for each in listed(text):
            ip_network(each)
    except ValueError as error:
        raise ValueError(
            f"expected addresses or networks such as 10.1.0.0/16, separated by commas: {error}"
        ) from None
    return text


def listed(text: str) -> list[str]:
    return [each.strip() for each in text.split(",") if each.strip()]


def _broker_uris(text: str) -> str:
    for each in listed(text):
        if not BROKER_URI.fullmatch(each):
            raise ValueError("expected URIs such as mqtts://broker.example:8883, without user or password")
    return text


class SecretSetting:
    """Marks a setting whose value must not appear in messages."""


BROKER_URI = re.compile(r"(?:mqtts?|wss?)://[^\s/@?#]+(?:/[^\s?#]*)?")
DatabaseUrl = Annotated[str, AfterValidator(_postgresql_url), SecretSetting()]
Address = Annotated[str, AfterValidator(_address)]
Networks = Annotated[str, AfterValidator(_networks)]
BrokerUrl = Annotated[str, AfterValidator(_broker_url), SecretSetting()]
LONGEST_SHOWN = 60
USER_OF_URL = re.compile(r"(?<=://)[^/\s]*@")


class Settings(BaseSettings):
    """The base of settings: read from the environment, validated, frozen."""

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
            raise SettingsError("\n".join(_problem(cls, each) for each in error.errors())) from None

    @field_validator("*", mode="before")
    @classmethod
    def _words_in_any_case(cls, value: object, info: ValidationInfo) -> object:
        """Accept words of enumerations in any case: `INFO` means `info`."""
        annotation = cls.model_fields[info.field_name or ""].annotation
        is_word = get_origin(annotation) is Literal and all(
            each == each.lower() for each in get_args(annotation)
        )
        return value.strip().lower() if is_word and isinstance(value, str) else value


class LogSettings(Settings):
    """The level and format of logs."""

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias="LOG_LEVEL", description="`debug`, `info`, `warning` or `error`"
    )
    log_format: Literal["text", "json"] = Field(
        "text", validation_alias="LOG_FORMAT", description="`text` for people, `json` for machines"
    )


class ProgramSettings(LogSettings):
    """Settings that all three programs share."""

    database_url: DatabaseUrl = Field(
        validation_alias="DATABASE_URL",
        description="PostgreSQL 15 or newer: `postgresql://user:password@host/db`",
    )


def _archive_url(url: str) -> str:
    if not url.startswith(SCHEMES) or url in SCHEMES:
        raise ValueError("expected file:///folder or s3://bucket/prefix?region=...")
    return url


class ArchiveSettings(Settings):
    """Where closed days are archived."""

    archive_url: Annotated[str, AfterValidator(_archive_url), SecretSetting()] | None = Field(
        None,
        validation_alias="ARCHIVE_URL",
        description="folder for closed days as Parquet: `file:///dir`, `s3://bucket/prefix`; default: none",
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
    """Settings that measuring jobs and responses share."""

    primary_baseline: BaselineName = Field(
        PRIMARY,
        validation_alias="EVENT_BASELINE",
        description="the baseline by which events are measured first",
    )
    listed_baselines: Annotated[str, AfterValidator(_baseline_names)] = Field(
        "",
        validation_alias="EVENT_BASELINES",
        description="further baselines that settlements compute, separated by commas, or `all`; default: the"
        " generic ones",
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
        description="limit of adjustments to the day of the event, percent up or down",
    )

    def computed_baselines(self) -> tuple[BaselineName, ...]:
        """Return the baselines of a settlement, including the primary one and the fall-back."""
        names = {self.primary_baseline, "last-samples", *baseline_names(self.listed_baselines)}
        return tuple(name for name in BASELINES if name in names)


class LoadSettings(Settings):
    """Settings that jobs that total loads and responses that list them share."""

    loads_gone_after_hours: float = Field(
        GONE_AFTER / timedelta(hours=1),
        ge=0,
        le=876_000,
        validation_alias="LOADS_GONE_AFTER_HOURS",
        description="hours that a load may lag behind its VEN's newest report, by device time, before it"
        " leaves the latest values and totals; 0 for never",
    )

    def loads_gone_after(self) -> timedelta | None:
        """None for never."""
        return timedelta(hours=self.loads_gone_after_hours) or None


class AskingSettings(LoadSettings):
    """Settings of the selection of VENs for events, shared by jobs and serving."""

    rest_s: float = Field(
        900,
        ge=0,
        le=86_400,
        validation_alias="EVENTS_REST_S",
        description="seconds after an event within which its VENs take part in no other",
    )
    events_per_day: int = Field(
        6,
        ge=1,
        le=1_000,
        validation_alias="EVENTS_MOST_PER_DAY",
        description="most events of a VEN in 24 hours",
    )

    def rest(self) -> Rest:
        return Rest(timedelta(seconds=self.rest_s), self.events_per_day)


class WebhookSettings(Settings):
    """Settings that jobs, which send webhooks, and serving, which validates their URLs, share."""

    webhook_networks: Networks = Field(
        "",
        validation_alias="WEBHOOK_NETWORKS",
        description="networks that webhooks may be sent to, also by http, although they are not public,"
        " such as `10.1.0.0/16`",
    )

    def allowed_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(ip_network(each) for each in listed(self.webhook_networks))


def _credentials_key(text: str) -> str:
    if text and not CREDENTIALS_KEY.fullmatch(text):
        raise ValueError("expected 64 hexadecimal digits, such as `openssl rand -hex 32` prints")
    return text


CREDENTIALS_KEY = re.compile("[0-9A-Fa-f]{64}")
CredentialsKey = Annotated[str, AfterValidator(_credentials_key), SecretSetting()]


class CredentialSettings(Settings):
    """Settings that serving, which creates VENs' passwords, and ingest, which applies them, share."""

    credentials_key: CredentialsKey = Field(
        "",
        validation_alias="CREDENTIALS_KEY",
        description="64 hexadecimal digits: the key that seals passwords of VENs in the database; without"
        " it, VENs get no passwords",
    )

    def password_key(self) -> bytes | None:
        return bytes.fromhex(self.credentials_key) or None


class NotifierSettings(Settings):
    """Settings of ingest, which publishes OpenADR notifications; jobs and serving queue them."""

    openadr_mqtt_uris: Annotated[str, AfterValidator(_broker_uris)] = Field(
        "",
        validation_alias="OPENADR_MQTT_URIS",
        description="where OpenADR clients reach the broker of `MQTT_URL`, by commas, such as"
        " `mqtts://broker.example:8883`; empty: no notifications by MQTT",
    )


def _problem(settings: type[Settings], error: ErrorDetails) -> str:
    """Return the line for a wrong setting: its variable, the fix, and, unless it is secret, its value."""
    variable, advice = ".".join(map(str, error["loc"])), _advice(error["msg"])
    value = error["input"]
    if not isinstance(value, str) or error["type"] == "missing" or _is_secret(settings, variable):
        return f"{variable}: {advice}"
    shown = USER_OF_URL.sub("...@", without_secrets(value))
    shown = repr(shown if len(shown) <= LONGEST_SHOWN else f"{shown[:LONGEST_SHOWN]}...")
    return f"{variable}: {advice}" if shown in advice else f"{variable}: {advice}, not {shown}"


def _is_secret(settings: type[Settings], variable: str) -> bool:
    field = next((each for each in settings.model_fields.values() if each.validation_alias == variable), None)
    if field is None:
        return False
    parts = (mark for part in get_args(field.annotation) for mark in getattr(part, "__metadata__", ()))
    return any(isinstance(mark, SecretSetting) for mark in (*field.metadata, *parts))


def _advice(message: str) -> str:
    if message == "Field required":
        return "is not set, and has no default"
    return message.removeprefix("Value error, ").removeprefix("Input ")
