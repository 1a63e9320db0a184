"""Connections to the database: UTC, an application name, and timeouts that turn a hang into an error."""

import os
from collections.abc import Mapping
from functools import cache, partial
from types import MappingProxyType
from typing import Any, TypedDict

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, Connection, Engine, create_engine, event

from schemas.db.answers import PROBE_WITHIN_S, AnswerMonitor, MonitoredConnection

SCHEMA_REVISION = "0036"
"""The migration that this code needs; a test compares it with Alembic's head."""

IDLE_IN_TRANSACTION_S = 10
"""Idle timeout in a transaction, after which a frozen process loses its locks."""

_SESSION: dict[str, object] = {
    "jit": "off",
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_S}s",
    "lock_timeout": "5s",
    "statement_timeout": "60s",
}
"""Session settings, unless a program or `DATABASE_URL` sets them otherwise: they bound locks, waits and
statements.
"""

_ALWAYS: dict[str, object] = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "extra_float_digits": 1,
    "standard_conforming_strings": "on",
    "default_transaction_isolation": "read committed",
}
"""Settings on which SQL, frames and drivers depend; they override those of a database or role."""

_REPORTED = {"TimeZone": "UTC", "DateStyle": "ISO"}
"""Those that libpq's environment overrides (`PGTZ`, `PGDATESTYLE`), as reported by the server."""

_CONNECTION: dict[str, object] = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}
"""Parameters of libpq, unless `DATABASE_URL` sets them otherwise: a dead network is detected within 30 s."""

_MONITOR = "gridgate_answer_monitor"
_DATABASE_URL = "gridgate_database_url"


class Bounds(TypedDict, total=False):
    """PostgreSQL's timeouts for a session, in its own units: `30s`, `5min`."""

    idle_in_transaction_session_timeout: str
    lock_timeout: str
    statement_timeout: str


LONG_WORK = Bounds(
    idle_in_transaction_session_timeout="10min", lock_timeout="1min", statement_timeout="30min"
)
"""For commands at a terminal that may compute for minutes between statements."""


def connection_parameters(database_url: str, program: str, session: Mapping[str, object]) -> dict[str, Any]:
    """Parameters for libpq that complete those of the URL.

    Parameters, and settings in `options`, of the URL, of its service, or of libpq's environment take
    precedence; only what the code depends on is always ours: `_ALWAYS`, and UTF-8.
    """
    of_url = _parameters_of_url(database_url)
    ours = _as_options({**_SESSION, **session})
    options = " ".join(filter(None, (ours, of_url.get("options"), _as_options(_ALWAYS))))
    defaults = {name: value for name, value in _CONNECTION.items() if name not in of_url}
    defaults["fallback_application_name"] = f"gridgate-{program}"
    return {**defaults, "client_encoding": "UTF8", "options": options}


def _parameters_of_url(database_url: str) -> dict[str, str]:
    parameters = {name: str(value) for name, value in conninfo_to_dict(database_url).items()}
    service = parameters.get("service")
    defaults = _defaults_of_libpq() if service is None else _defaults_of_service(service)
    return {**defaults, **parameters}


def _defaults_of_libpq() -> Mapping[str, str]:
    """Return parameters of libpq's environment, and of the service file that it names."""
    return {
        option.keyword.decode(): option.val.decode()
        for option in pq.Conninfo.get_defaults()
        if option.envvar and option.val and option.val != option.compiled
    }


@cache
def _defaults_of_service(service: str) -> Mapping[str, str]:
    """Return these parameters, with those of a service in the service file.

    libpq reads this, without connecting, for the service in its environment alone. Read once: changing the
    environment while other threads read it is not safe.
    """
    before = os.environ.get("PGSERVICE")
    os.environ["PGSERVICE"] = service
    try:
        return MappingProxyType({**_defaults_of_libpq()})
    finally:
        if before is None:
            del os.environ["PGSERVICE"]
        else:
            os.environ["PGSERVICE"] = before


def _as_options(settings: Mapping[str, object]) -> str:
    """Return settings in the form of `options`: a space within a value is escaped by a backslash."""
    return " ".join(
        "-c {}={}".format(name, str(value).replace(" ", "\\ ")) for name, value in settings.items()
    )


def connect(
    database_url: str, program: str, *, monitor: AnswerMonitor | None = None, **session: str
) -> psycopg.Connection:
    """Return a psycopg connection in autocommit mode; transactions are explicit, by `with transaction()`.

    `session` has further settings, as for `SET`; `monitor` tracks how long the database owes an answer, and
    bounds the wait for it.
    """
    parameters = connection_parameters(database_url, program, session)
    return _open(database_url, {**parameters, "autocommit": True}, monitor)


def engine_for(
    database_url: str,
    program: str,
    *,
    pool_size: int = 5,
    overflow: int = 10,
    monitor: AnswerMonitor | None = None,
    **session: str,
) -> Engine:
    """Return a SQLAlchemy engine on psycopg 3 whose pool tests each connection at checkout.

    Connections that overflow the pool serve peaks, and are closed after each use.
    `monitor` and `session` are those of `connect`.
    """
    parameters = connection_parameters(database_url, program, session)
    engine = create_engine(
        URL.create("postgresql+psycopg", database=str(conninfo_to_dict(database_url).get("dbname") or "")),
        pool_size=pool_size,
        max_overflow=overflow,
        pool_pre_ping=True,
        execution_options={_MONITOR: monitor, _DATABASE_URL: database_url},
    )

    @event.listens_for(engine, "do_connect")
    def connect_by_libpq(_dialect: Any, _record: Any, _: Any, arguments: dict[str, Any]) -> Any:  # noqa: ANN401
        """Pass the URL to libpq unchanged: SQLAlchemy parses and writes some characters differently."""
        return _open(database_url, {**parameters, "context": arguments.get("context")}, monitor)

    return engine


def database_url_of(engine: Engine) -> str:
    """Return an engine's URL for libpq; `engine.url` has only the name of the database."""
    return str(engine.get_execution_options()[_DATABASE_URL])


def monitor_of(engine: Engine) -> AnswerMonitor | None:
    """Return an engine's monitor."""
    monitor = engine.get_execution_options().get(_MONITOR)
    return monitor if isinstance(monitor, AnswerMonitor) else None


def _open(
    database_url: str, parameters: Mapping[str, Any], monitor: AnswerMonitor | None
) -> psycopg.Connection:
    if monitor is None:
        return _with_reported_settings(psycopg.connect(database_url, **parameters))
    attempt = object()
    monitor.begin(attempt)
    try:
        connection = MonitoredConnection.connect(database_url, **parameters)
    except psycopg.OperationalError:
        monitor.given_up(attempt)
        raise
    monitor.answered(attempt)
    connection.monitor = monitor
    connection.open_other = partial(_open_probe, database_url, parameters, monitor)
    return _with_reported_settings(connection)


def _with_reported_settings(connection: psycopg.Connection) -> psycopg.Connection:
    """Reset settings that the environment has overridden; without any this costs nothing."""
    for name, value in _REPORTED.items():
        if not (connection.info.parameter_status(name) or "").startswith(value):
            connection.execute(f"SET {name} = {value}".encode())
            connection.commit()
    return connection


def _open_probe(
    database_url: str, parameters: Mapping[str, Any], monitor: AnswerMonitor
) -> psycopg.Connection:
    plain = {name: value for name, value in parameters.items() if name != "context"}
    probe = MonitoredConnection.connect(database_url, **{**plain, "autocommit": True})
    probe.monitor, probe.probe_after_s = AnswerMonitor(monitor.monotonic), PROBE_WITHIN_S
    return probe


def driver_connection(connection: Connection) -> psycopg.Connection:
    """Return the psycopg connection under a SQLAlchemy one, in the same transaction: for COPY."""
    raw = connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError(f"expected a psycopg connection, got {type(raw).__name__}")
    return raw
