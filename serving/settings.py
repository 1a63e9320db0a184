"""Settings of serving."""

import re
from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated

from pydantic import AfterValidator, Field

from schemas.settings import BaselineSettings, ProgramSettings
from serving.event_rules import EventRules

ORIGIN = re.compile(r"\*|https?://[^/,\s]+")


def _address(text: str) -> str:
    try:
        return str(ip_address("127.0.0.1" if text == "localhost" else text))
    except ValueError:
        raise ValueError("expected an IP address, such as 127.0.0.1 or 0.0.0.0") from None


def _origins(text: str) -> str:
    wrong = [origin for origin in text.split(",") if origin.strip() and not ORIGIN.fullmatch(origin.strip())]
    if wrong:
        raise ValueError("expected origins such as https://ui.example, separated by commas, or *")
    return text


Address = Annotated[str, AfterValidator(_address)]
Origins = Annotated[str, AfterValidator(_origins)]


class ServingSettings(ProgramSettings, BaselineSettings):
    http_host: Address = Field(
        "127.0.0.1", validation_alias="HTTP_HOST", description="IP address to listen on"
    )
    http_port: int = Field(
        8000, ge=1, le=65_535, validation_alias="HTTP_PORT", description="port to listen on"
    )
    http_workers: int = Field(1, ge=1, validation_alias="HTTP_WORKERS", description="worker processes")
    http_threads: int = Field(
        8, ge=1, validation_alias="HTTP_THREADS", description="requests that one worker answers at once"
    )
    stream_clients: int = Field(
        64,
        ge=0,
        le=10_000,
        validation_alias="HTTP_STREAM_CLIENTS",
        description="live streams that one worker holds open, beside its requests; more are answered 503",
    )
    stream_heartbeat_s: float = Field(
        15,
        gt=0,
        le=3_600,
        validation_alias="HTTP_STREAM_HEARTBEAT_S",
        description="seconds of silence after which a live stream says that it is still there",
    )
    cors_origins: Origins = Field(
        "",
        validation_alias="CORS_ORIGINS",
        description="origins whose pages may call: `https://ui.example`, ..., or `*`",
    )

    event_lead_time_s: float = Field(
        300,
        ge=0,
        le=86_400,
        validation_alias="EVENTS_LEAD_TIME_S",
        description="seconds before an event's start at which VENs are told, unless it says otherwise",
    )
    event_start_grace_s: float = Field(
        300,
        ge=0,
        le=86_400,
        validation_alias="EVENTS_START_GRACE_S",
        description="an event whose start passed no longer ago than this starts at once; others are refused",
    )

    @property
    def event_rules(self) -> EventRules:
        return EventRules(
            timedelta(seconds=self.event_start_grace_s), timedelta(seconds=self.event_lead_time_s)
        )

    @property
    def allowed_origins(self) -> list[str]:
        return [origin.strip() for origin in self.cors_origins.split(",") if origin.strip()]
