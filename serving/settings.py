"""Settings of serving."""

import re
from datetime import timedelta
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, FilePath, ValidationInfo, field_validator

from schemas.baseline_model.settings import CalendarSettings
from schemas.openadr import MqttAuthentication, MqttBinding, authentication
from schemas.programs.cores import processes_for
from schemas.programs.settings import (
    Address,
    ArchiveSettings,
    AskingSettings,
    CredentialSettings,
    DatabaseUrl,
    Networks,
    NotifierSettings,
    ProgramSettings,
    WebhookSettings,
    listed,
)
from serving.db.worker_share import WorkerShare, share_of
from serving.events.rules import EventRules
from serving.history.limits import MAX_POINTS
from serving.openadr.auth import outside_tokens
from serving.policy import MAX_BODY_BYTES, ORIGIN, Policy


def _origins(text: str) -> str:
    if not all(ORIGIN.fullmatch(origin) for origin in listed(text)):
        raise ValueError("expected origins such as https://ui.example, separated by commas, or *")
    return text


def _issuer(text: str) -> str:
    if text and not ISSUER.fullmatch(text):
        raise ValueError("expected a URL such as https://login.example/realms/grid")
    return text


def _page_ports(text: str) -> str:
    for each in listed(text):
        if not (each.isascii() and each.isdigit() and 1 <= int(each) <= LARGEST_PORT):
            raise ValueError(f"must be ports such as 8080, 3000; not {each}")
    return text


ISSUER = re.compile(r"https?://[^/\s?#]+(?:/[^\s?#]*)?")
LARGEST_PORT = 65_535
Origins = Annotated[str, AfterValidator(_origins)]
PagePorts = Annotated[str, AfterValidator(_page_ports)]
Issuer = Annotated[str, AfterValidator(_issuer)]


class ServingSettings(
    ProgramSettings,
    CalendarSettings,
    AskingSettings,
    WebhookSettings,
    CredentialSettings,
    ArchiveSettings,
    NotifierSettings,
):
    http_host: Address = Field(
        "127.0.0.1", validation_alias="HTTP_HOST", description="IP address to listen on"
    )
    http_port: int = Field(
        8000, ge=1, le=65_535, validation_alias="HTTP_PORT", description="port to listen on"
    )
    http_workers: int | None = Field(
        None,
        ge=1,
        validation_alias="HTTP_WORKERS",
        description="worker processes; default: one a core, at most four",
    )
    http_threads: int = Field(
        8,
        ge=1,
        validation_alias="HTTP_THREADS",
        description="most concurrent requests of all workers; each has a share of them, at least four",
    )
    http_max_points: int = Field(
        MAX_POINTS,
        ge=1,
        validation_alias="HTTP_MAX_POINTS",
        description="most points of one history; beyond is a 400 that suggests a granularity",
    )
    http_query_timeout_s: float = Field(
        30,
        gt=0,
        le=3_600,
        validation_alias="HTTP_QUERY_TIMEOUT_S",
        description="time limit of queries, s; a slower history is a 400 that suggests a granularity",
    )
    database_read_url: DatabaseUrl | None = Field(
        None,
        validation_alias="DATABASE_READ_URL",
        description="URL of a replica for statistics, lists and histories; default: `DATABASE_URL`",
    )
    ready_max_rollup_age_s: float = Field(
        60,
        gt=0,
        le=86_400,
        validation_alias="READY_MAX_ROLLUP_AGE_S",
        description="age of the totals, s, beyond which `/health/db-check` is 503",
    )
    stream_clients: int = Field(
        64,
        ge=0,
        le=10_000,
        validation_alias="HTTP_STREAM_CLIENTS",
        description="most live streams of all workers; beyond is a 503",
    )
    stream_heartbeat_s: float = Field(
        15,
        gt=0,
        le=3_600,
        validation_alias="HTTP_STREAM_HEARTBEAT_S",
        description="heartbeat of a live stream without changes, s",
    )
    cors_origins: Origins = Field(
        "",
        validation_alias="CORS_ORIGINS",
        description="origins whose pages may call the API, separated by commas: `https://ui.example`, or `*`",
    )

    http_page_ports: PagePorts = Field(
        "",
        validation_alias="HTTP_PAGE_PORTS",
        description="ports of pages behind a proxy that forwards `Host` without port, separated by commas",
    )
    history_aggregate: Literal["sum", "energy", "mean"] = Field(
        "sum",
        validation_alias="HISTORY_AGGREGATE",
        description="default aggregate of histories: `sum`, `mean` or `energy`",
    )

    http_auth: Literal["keys", "off"] = Field(
        "keys",
        validation_alias="HTTP_AUTH",
        description="`keys`: callers need an API key; `off`, on a loopback address only: they need none",
    )
    http_max_body_bytes: int = Field(
        MAX_BODY_BYTES,
        ge=1_024,
        le=1_073_741_824,
        validation_alias="HTTP_MAX_BODY_BYTES",
        description="longest request body, bytes",
    )
    http_rate_per_s: float = Field(
        100.0,
        ge=0,
        le=1_000_000,
        validation_alias="HTTP_RATE_PER_S",
        description="requests per second of one key; 0: no limit",
    )
    http_rate_burst: int = Field(
        200,
        ge=1,
        le=1_000_000,
        validation_alias="HTTP_RATE_BURST",
        description="burst of requests of one key",
    )
    http_finish_s: int = Field(
        20,
        ge=1,
        le=3_600,
        validation_alias="HTTP_FINISH_S",
        description="time for requests to finish after SIGTERM, s",
    )
    http_trusted_proxies: Networks = Field(
        "",
        validation_alias="HTTP_TRUSTED_PROXIES",
        description="proxies whose `X-Forwarded-For` is trusted, such as `10.1.0.0/16, 127.0.0.1`",
    )
    http_https: Literal["yes", "no"] = Field(
        "no",
        validation_alias="HTTP_HTTPS",
        description="`yes` if browsers use https only: cookies are `Secure`, and HSTS is sent",
    )
    http_page_policy: str = Field(
        "",
        validation_alias="HTTP_PAGE_POLICY",
        description="`Content-Security-Policy` of pages; default: only what serving itself serves",
    )

    openadr_token_s: int = Field(
        3_600,
        ge=60,
        le=86_400,
        validation_alias="OPENADR_TOKEN_S",
        description="lifetime of OpenADR clients' tokens, s",
    )
    openadr_mqtt_authentication: MqttAuthentication = Field(
        "OAUTH2_BEARER_TOKEN",
        validation_alias="OPENADR_MQTT_AUTHENTICATION",
        description="how the broker authenticates OpenADR clients: `OAUTH2_BEARER_TOKEN`, `CERTIFICATE`, or"
        " `ANONYMOUS` where nothing is private",
    )
    openadr_mqtt_ca_file: FilePath | None = Field(
        None,
        validation_alias="OPENADR_MQTT_CA_FILE",
        description="certificate authorities of the broker, sent to OpenADR clients with certificates",
    )
    oidc_issuer: Issuer = Field(
        "",
        validation_alias="OIDC_ISSUER",
        description="URL of an OpenID Connect issuer whose tokens OpenADR clients may send, too",
    )
    oidc_audience: str = Field(
        "gridgate",
        min_length=1,
        validation_alias="OIDC_AUDIENCE",
        description="audience that the tokens of `OIDC_ISSUER` must name",
    )

    event_lead_time_s: float = Field(
        0,
        ge=0,
        le=86_400,
        validation_alias="EVENTS_LEAD_TIME_S",
        description="default time before an event's start at which VENs are notified, s",
    )
    event_start_grace_s: float = Field(
        300,
        ge=0,
        le=86_400,
        validation_alias="EVENTS_START_GRACE_S",
        description="grace period, s: a past start of an event within it means at once; else it is refused",
    )

    event_longest_s: float = Field(
        86_400,
        ge=1,
        le=604_800,
        validation_alias="EVENTS_LONGEST_S",
        description="longest duration of an event, s; longer ones are refused",
    )

    @field_validator("http_auth")
    @classmethod
    def _off_only_on_loopback(cls, auth: str, info: ValidationInfo) -> str:
        host = info.data.get("http_host")
        if auth == "off" and host is not None and not ip_address(host).is_loopback:
            raise ValueError(
                f"`off` would open the API to every host that reaches {host}: set HTTP_AUTH=keys, and create "
                "keys with `python -m serving keys create NAME --role operator`; or set HTTP_HOST=127.0.0.1"
            )
        return auth

    @field_validator("http_page_policy")
    @classmethod
    def _one_line(cls, policy: str) -> str:
        if not (policy.isprintable() and policy.isascii()):
            raise ValueError("must be one line of plain characters")
        return policy

    @property
    def workers(self) -> int:
        return processes_for(self.http_workers)

    @property
    def share(self) -> WorkerShare:
        return share_of(self.http_threads, self.workers)

    @property
    def policy(self) -> Policy:
        return Policy(
            needs_keys=self.http_auth == "keys",
            max_body_bytes=self.http_max_body_bytes,
            bodies_at_once=self.share.requests,
            rate_per_s=self.http_rate_per_s,
            rate_burst=self.http_rate_burst,
            is_local_only=self.http_auth == "off",
            trusted_proxies=tuple(ip_network(each) for each in listed(self.http_trusted_proxies)),
            is_https=self.http_https == "yes",
            page_policy=self.http_page_policy or None,
            page_ports=frozenset(int(each) for each in listed(self.http_page_ports)),
        )

    @property
    def outside_issuer(self) -> outside_tokens.Issuer | None:
        return outside_tokens.Issuer(self.oidc_issuer, self.oidc_audience) if self.oidc_issuer else None

    @property
    def mqtt_binding(self) -> MqttBinding | None:
        """Return how OpenADR clients reach the broker; None if they cannot.

        Raises:
            OSError: the file of certificates cannot be read.
        """
        uris = listed(self.openadr_mqtt_uris)
        if not uris:
            return None
        ca_file = self.openadr_mqtt_ca_file
        ca_cert = ca_file.read_text() if ca_file else ""
        return MqttBinding(
            tuple(uris), authentication=authentication(self.openadr_mqtt_authentication, ca_cert)
        )

    @property
    def event_rules(self) -> EventRules:
        return EventRules(
            timedelta(seconds=self.event_start_grace_s),
            timedelta(seconds=self.event_lead_time_s),
            self.primary_baseline,
            self.computed_baselines(),
            self.look_back_days,
            self.adjustment_cap_percent,
            timedelta(seconds=self.event_longest_s),
            self.rest(),
            self.loads_gone_after(),
            self.time_zone,
            self.holidays,
        )

    @property
    def allowed_origins(self) -> list[str]:
        return listed(self.cors_origins)
