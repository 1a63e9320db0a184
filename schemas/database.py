"""How a program talks to the database: UTC, a name, and time-outs that turn a hang into an error."""

from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine

SCHEMA_REVISION = "0012"
"""The migration that this code needs; a test holds it to Alembic's head."""


_SESSION: dict[str, object] = {
    "timezone": "UTC",
    "jit": "off",
    "tcp_keepalives_idle": 10,
    "tcp_keepalives_interval": 5,
    "tcp_keepalives_count": 3,
}
_WRITER = {**_SESSION, "idle_in_transaction_session_timeout": "10s"}
"""What the server is to do for us: a writer's locks must not outlive it by more than some seconds."""


def _options(program: str, session: dict[str, object]) -> dict[str, Any]:
    return {
        "application_name": f"gridgate-{program}",
        "options": " ".join(f"-c {name}={value}" for name, value in session.items()),
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }


def connect(database_url: str, program: str, **session: str) -> psycopg.Connection:
    """A psycopg connection in autocommit mode: a transaction is what stands in `with transaction()`.

    `session` names more of what the server is to do for us, as `SET` has it.
    """
    return psycopg.connect(database_url, autocommit=True, **_options(program, _WRITER | session))


def engine_for(
    database_url: str, program: str, *, pool_size: int = 5, overflow: int = 10, **session: str
) -> Engine:
    """A SQLAlchemy engine on psycopg 3 whose pool tests a connection before it lends it.

    Connections that overflow the pool are closed after each use, and opened for each: they help in a pinch.
    `session` is that of `connect`.
    """
    return create_engine(
        database_url.replace("postgresql://", "postgresql+psycopg://", 1),
        connect_args=_options(program, _SESSION | session),
        pool_size=pool_size,
        max_overflow=overflow,
        pool_pre_ping=True,
    )


def driver_connection(connection: Connection) -> psycopg.Connection:
    """The psycopg connection under a SQLAlchemy one, in the same transaction: for COPY."""
    raw = connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError(f"expected a psycopg connection, got {type(raw).__name__}")
    return raw
