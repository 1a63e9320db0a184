"""Settings of ingest."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FilePath

from ingest.commands.states import RetryPolicy
from ingest.storing.quotas import Limits
from schemas.programs.settings import (
    Address,
    BrokerUrl,
    CredentialSettings,
    NotifierSettings,
    ProgramSettings,
    Settings,
)

FILTER = re.compile(r"(#|(\+|[^+#/]*)(/(\+|[^+#/]*))*(/#)?)")
"""`+` matches one level, `#` all levels from there on."""

LONGEST_RETRY = timedelta(hours=1)


def _topic_filters(text: str) -> str:
    filters = [topic.strip() for topic in text.split(",") if topic.strip()]
    if not filters or not all(FILTER.fullmatch(topic) for topic in filters):
        raise ValueError("expected topic filters such as oadr/meter/+, separated by commas")
    return text


def _file_to_be(path: Path) -> Path:
    if not path.parent.is_dir():
        raise ValueError("its directory does not exist")
    return path


TopicFilters = Annotated[str, AfterValidator(_topic_filters)]
FileToBe = Annotated[Path, AfterValidator(_file_to_be)]


class Tolerance(Settings):
    """Limits of messages."""

    max_ahead_s: float = Field(
        300,
        ge=0,
        le=1e8,
        validation_alias="INGEST_MAX_AHEAD_S",
        description="most seconds that a timestamp may be ahead of the clock; others are rejected",
    )
    max_payload_bytes: int = Field(
        1_048_576,
        ge=1_024,
        le=16_777_216,
        validation_alias="INGEST_MAX_PAYLOAD_BYTES",
        description="longest message, bytes; a longer one is rejected as `too_large`",
    )
    max_loads_of_ven: int = Field(
        1_000,
        ge=1,
        le=100_000,
        validation_alias="INGEST_MAX_LOADS_OF_VEN",
        description="most loads of one VEN; more are rejected as `too_many_loads`",
    )
    max_vens: int = Field(
        1_000_000,
        ge=1,
        le=100_000_000,
        validation_alias="INGEST_MAX_VENS",
        description="most VENs that register themselves by reporting; more are rejected as `too_many_vens`",
    )
    max_load_types: int = Field(
        1_000,
        ge=1,
        le=100_000,
        validation_alias="INGEST_MAX_LOAD_TYPES",
        description="most different load types; another one is left out as `too_many_load_types`",
    )

    @property
    def limits(self) -> Limits:
        return Limits(
            payload_bytes=self.max_payload_bytes,
            loads_of_ven=self.max_loads_of_ven,
            vens=self.max_vens,
            load_types=self.max_load_types,
        )


class IngestSettings(ProgramSettings, Tolerance, CredentialSettings, NotifierSettings):
    """Settings of `python -m ingest`."""

    mqtt_url: BrokerUrl = Field(
        validation_alias="MQTT_URL",
        description="the broker: `mqtt://user:password@host:1883`, or `host,host`; `mqtts://` for TLS",
    )
    mqtt_ca_file: FilePath | None = Field(
        None,
        validation_alias="MQTT_CA_FILE",
        description="certificates that a `mqtts://` broker's must be signed by; without: the system's",
    )
    mqtt_cert_file: FilePath | None = Field(
        None,
        validation_alias="MQTT_CERT_FILE",
        description="client certificate, if the broker requires one",
    )
    mqtt_key_file: FilePath | None = Field(
        None, validation_alias="MQTT_KEY_FILE", description="the private key of that certificate"
    )
    mqtt_admin_url: BrokerUrl | None = Field(
        None,
        validation_alias="MQTT_ADMIN_URL",
        description="the same broker with the login of an administrator of its plugin dynamic-security, for"
        " credentials of VENs; needs `CREDENTIALS_KEY`",
    )
    mqtt_protocol: Literal["5", "3.1.1"] = Field(
        "5",
        validation_alias="MQTT_PROTOCOL",
        description="`5`, or `3.1.1`, with which the broker limits messages in flight",
    )
    mqtt_client_id: str = Field(
        "gridgate-ingest",
        min_length=1,
        max_length=65_535,
        validation_alias="MQTT_CLIENT_ID",
        description="stable name of this worker's session at the broker; each worker needs its own",
    )
    mqtt_topics: TopicFilters = Field(
        "oadr/meter/+,volttron/metering,ven/loads/+,ven/status/+,ven/ack/+",
        validation_alias="MQTT_TOPICS",
        description="topic filters to subscribe, separated by commas",
    )
    mqtt_share_group: str = Field(
        "",
        pattern=r"^[^/+#]*$",
        validation_alias="MQTT_SHARE_GROUP",
        description="group of a shared subscription, for several workers; empty for a plain one",
    )
    mqtt_session_expiry_s: int = Field(
        86_400,
        ge=0,
        le=4_294_967_295,
        validation_alias="MQTT_SESSION_EXPIRY_S",
        description="seconds that the broker queues messages for a disconnected worker (MQTT 5)",
    )
    mqtt_receive_maximum: int = Field(
        4_000,
        ge=1,
        le=65_535,
        validation_alias="MQTT_RECEIVE_MAXIMUM",
        description="receive maximum: most messages in flight, and so in memory (MQTT 5)",
    )
    mqtt_message_expiry: Literal["on", "off"] = Field(
        "on",
        validation_alias="MQTT_MESSAGE_EXPIRY",
        description="`off` for a broker that fails at messages with an expiry (MQTT 5); else `on`",
    )
    workers: int | None = Field(
        None,
        ge=1,
        le=64,
        validation_alias="INGEST_WORKERS",
        description="processes that decode and store what one receives; default: one a core, at most four;"
        " with 1, the receiving process does all",
    )
    batch_messages: int = Field(
        4_000,
        ge=1,
        validation_alias="INGEST_BATCH_MESSAGES",
        description="most messages in one transaction",
    )
    ready_file: FileToBe | None = Field(
        None,
        validation_alias="INGEST_READY_FILE",
        description="file that exists while the broker holds our subscriptions",
    )
    command_dispatcher: Literal["on", "off"] = Field(
        "on",
        validation_alias="INGEST_COMMANDS",
        description="`on`, or `off` if another worker publishes the commands to VENs",
    )
    command_retry_s: float = Field(
        5,
        gt=0,
        le=3_600,
        validation_alias="COMMAND_RETRY_S",
        description="seconds until an unacknowledged command is sent again; doubles with each attempt",
    )
    command_attempts: int = Field(
        40,
        ge=1,
        le=1_000,
        validation_alias="COMMAND_ATTEMPTS",
        description="most attempts of a command without an acknowledgement",
    )
    http_port: int = Field(
        0,
        ge=0,
        le=65_535,
        validation_alias="INGEST_HTTP_PORT",
        description="port of `/metrics` and `/health`, which need no key; 0 for none",
    )
    http_host: Address = Field(
        "127.0.0.1",
        validation_alias="INGEST_HTTP_HOST",
        description="IP address of that port; behind a firewall, `0.0.0.0` lets another host scrape it",
    )

    @property
    def retry_policy(self) -> RetryPolicy:
        """When commands without an acknowledgement are sent again."""
        return RetryPolicy(timedelta(seconds=self.command_retry_s), LONGEST_RETRY, self.command_attempts)

    @property
    def subscriptions(self) -> list[str]:
        filters = [topic.strip() for topic in self.mqtt_topics.split(",") if topic.strip()]
        prefix = f"$share/{self.mqtt_share_group}/" if self.mqtt_share_group else ""
        return [prefix + topic for topic in filters]
