"""How a program talks to the database: UTC, a name, and time-outs that turn a hang into an error."""

from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine

SCHEMA_REVISION = "0001"
"""The migration that this code needs; a test holds it to Alembic's head."""


def _options(program: str) -> dict[str, Any]:
    return {
        "application_name": f"gridgate-{program}",
        "options": "-c timezone=UTC",
        "connect_timeout": 5,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
    }


def connect(database_url: str, program: str) -> psycopg.Connection:
    """A psycopg connection in autocommit mode: a transaction is what stands in `with transaction()`."""
    return psycopg.connect(database_url, autocommit=True, **_options(program))


def engine_for(database_url: str, program: str, *, pool_size: int = 5) -> Engine:
    """A SQLAlchemy engine on psycopg 3 whose pool tests a connection before it lends it."""
    return create_engine(
        database_url.replace("postgresql://", "postgresql+psycopg://", 1),
        connect_args=_options(program),
        pool_size=pool_size,
        pool_pre_ping=True,
    )


def driver_connection(connection: Connection) -> psycopg.Connection:
    """The psycopg connection under a SQLAlchemy one, in the same transaction: for COPY."""
    raw = connection.connection.driver_connection
    if not isinstance(raw, psycopg.Connection):
        raise TypeError(f"expected a psycopg connection, got {type(raw).__name__}")
    return raw
