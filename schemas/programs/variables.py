"""The environment variables of all programs, and the detection of misspelt ones.

The programs share one environment file and must not import each other, so the names are listed here; a test
compares them with the settings.
"""

import difflib
import re
from collections.abc import Callable, Iterable

VARIABLES = frozenset(
    (
        "ALARM_CLEAR_AFTER_S",
        "ALARM_CLOCKS_PERCENT",
        "ALARM_CLOCK_OFFSET_S",
        "ALARM_DATABASE_GB",
        "ALARM_DISK_PATH",
        "ALARM_DISK_PERCENT",
        "ALARM_INGEST_SILENT_S",
        "ALARM_JOBS_LATE_S",
        "ALARM_OFFLINE_PERCENT",
        "ALARM_OFFLINE_WITHIN_S",
        "ALARM_REFUSED_PER_MINUTE",
        "ALARM_UNDERDELIVERY_AFTER_S",
        "ALARM_UNDERDELIVERY_PERCENT",
        "ARCHIVE_AFTER_DAYS",
        "ARCHIVE_URL",
        "BASELINE_CAP_PERCENT",
        "BASELINE_LOOK_BACK_DAYS",
        "COMMAND_ATTEMPTS",
        "COMMAND_RETRY_S",
        "CORS_ORIGINS",
        "CREDENTIALS_KEY",
        "DATABASE_READ_URL",
        "DATABASE_URL",
        "EVENTS_LEAD_TIME_S",
        "EVENTS_LONGEST_S",
        "EVENTS_MOST_PER_DAY",
        "EVENTS_REST_S",
        "EVENTS_START_GRACE_S",
        "EVENT_BASELINE",
        "EVENT_BASELINES",
        "HISTORY_AGGREGATE",
        "HOLIDAYS",
        "HTTP_AUTH",
        "HTTP_FINISH_S",
        "HTTP_HOST",
        "HTTP_HTTPS",
        "HTTP_MAX_BODY_BYTES",
        "HTTP_MAX_POINTS",
        "HTTP_PAGE_POLICY",
        "HTTP_PAGE_PORTS",
        "HTTP_PORT",
        "HTTP_QUERY_TIMEOUT_S",
        "HTTP_RATE_BURST",
        "HTTP_RATE_PER_S",
        "HTTP_STREAM_CLIENTS",
        "HTTP_STREAM_HEARTBEAT_S",
        "HTTP_THREADS",
        "HTTP_TRUSTED_PROXIES",
        "HTTP_WORKERS",
        "INGEST_BATCH_MESSAGES",
        "INGEST_COMMANDS",
        "INGEST_HTTP_HOST",
        "INGEST_HTTP_PORT",
        "INGEST_MAX_AHEAD_S",
        "INGEST_MAX_LOADS_OF_VEN",
        "INGEST_MAX_LOAD_TYPES",
        "INGEST_MAX_PAYLOAD_BYTES",
        "INGEST_MAX_VENS",
        "INGEST_READY_FILE",
        "INGEST_WORKERS",
        "JOBS_ALARMS_EVERY_S",
        "JOBS_COMMANDS_EVERY_S",
        "JOBS_EVENTS_EVERY_S",
        "JOBS_FORECAST_EVERY_S",
        "JOBS_HISTORY_EVERY_S",
        "JOBS_HTTP_HOST",
        "JOBS_HTTP_PORT",
        "JOBS_PRESENCE_EVERY_S",
        "JOBS_SETTLEMENT_EVERY_S",
        "JOBS_SNAPSHOT_EVERY_S",
        "LOADS_GONE_AFTER_HOURS",
        "LOG_FORMAT",
        "LOG_LEVEL",
        "MQTT_ADMIN_URL",
        "MQTT_CA_FILE",
        "MQTT_CERT_FILE",
        "MQTT_CLIENT_ID",
        "MQTT_KEY_FILE",
        "MQTT_MESSAGE_EXPIRY",
        "MQTT_PROTOCOL",
        "MQTT_RECEIVE_MAXIMUM",
        "MQTT_SESSION_EXPIRY_S",
        "MQTT_SHARE_GROUP",
        "MQTT_TOPICS",
        "MQTT_URL",
        "OIDC_AUDIENCE",
        "OIDC_ISSUER",
        "OPENADR_MQTT_AUTHENTICATION",
        "OPENADR_MQTT_CA_FILE",
        "OPENADR_MQTT_URIS",
        "OPENADR_TOKEN_S",
        "PRESENCE_AT_LEAST_S",
        "PRESENCE_INTERVALS",
        "READY_MAX_ROLLUP_AGE_S",
        "RETENTION_1H_DAYS",
        "RETENTION_1M_DAYS",
        "RETENTION_1S_DAYS",
        "RETENTION_5M_DAYS",
        "RETENTION_ALARMS_DAYS",
        "RETENTION_COMMANDS_DAYS",
        "RETENTION_EVENTS_DAYS",
        "RETENTION_LIVE_HOURS",
        "RETENTION_OPENADR_REPORTS_DAYS",
        "RETENTION_RAW_DAYS",
        "RETENTION_REJECTED_DAYS",
        "RETENTION_REJECTED_MB",
        "RETENTION_RUNS_DAYS",
        "RETENTION_STATUSES_DAYS",
        "RETENTION_WEBHOOKS_DAYS",
        "SETTLEMENT_COVERAGE_PERCENT",
        "SETTLEMENT_GRACE_S",
        "SETTLEMENT_REVISE_DAYS",
        "TIME_ZONE",
        "WEBHOOK_DISABLE_AFTER_S",
        "WEBHOOK_NETWORKS",
        "WEBHOOK_RETRY_S",
        "WEBHOOK_TIMEOUT_S",
    )
)
_PREFIXES = frozenset(name.partition("_")[0] for name in VARIABLES)
_OF_OTHERS = re.compile(r"HTTP_PROXY|.*_SERVICE_(HOST|PORT).*|.*_PORT_\d+_(TCP|UDP).*")
"""Variables with one of our prefixes that proxies and Kubernetes set."""

SIMILAR = 0.6


def unknown_variables(environment: Iterable[str]) -> dict[str, str | None]:
    """Return unknown variables with one of our prefixes, each with the most similar setting."""
    candidates = sorted(
        name
        for name in environment
        if name.upper() not in VARIABLES
        and name.partition("_")[0] in _PREFIXES
        and not _OF_OTHERS.fullmatch(name)
    )
    return {name: _nearest(name) for name in candidates}


def warn_of_unknown_variables(environment: Iterable[str], warn: Callable[..., object]) -> None:
    """Warn of each variable that looks like a misspelt setting; it has no effect.

    Args:
        environment: names of variables.
        warn: takes the name of a log event, and fields.
    """
    for name, nearest in unknown_variables(environment).items():
        warn("unknown_variable", variable=name, nearest=nearest)


def _nearest(name: str) -> str | None:
    nearest = difflib.get_close_matches(name, sorted(VARIABLES), n=1, cutoff=SIMILAR)
    return nearest[0] if nearest else None
