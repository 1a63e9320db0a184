"""The primary database, for all writes, and an optional replica, for reads."""

from datetime import datetime

import structlog
from msgspec import structs
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import SQLAlchemyError

from schemas.api.service import Readiness
from schemas.db.connections import SCHEMA_REVISION, monitor_of
from schemas.tables.snapshots import network_snapshot
from serving.errors import NotReadyError

READY_WITHIN_S = 60.0
QUERY_TIMEOUT_S = 30.0
REVISION = text("SELECT version_num FROM alembic_version")
REFRESHED_AT = select(network_snapshot.c.refreshed_at)


def timeout(seconds: float) -> str:
    """Return a timeout in PostgreSQL's syntax, never 0, which would mean no limit."""
    return f"{max(1, round(seconds * 1000))}ms"


class Databases:
    """The primary and, optionally, a replica, and how old their totals may be."""

    def __init__(
        self,
        primary: Engine,
        replica: Engine | None = None,
        ready_within_s: float = READY_WITHIN_S,
        query_timeout_s: float = QUERY_TIMEOUT_S,
    ) -> None:
        self.query_timeout_s = query_timeout_s
        self.primary = primary
        self.to_read = replica or primary
        self._has_replica = replica is not None
        self._ready_within_s = ready_within_s

    def readiness(self, now: datetime) -> Readiness:
        """Return the readiness of both.

        Raises:
            NotReadyError: one of them does not respond, lacks a migration, or has outdated totals.
        """
        primary = self._state(self.primary, now, "The database")
        if not self._has_replica:
            return primary
        replica = self._read_replica(now)
        return structs.replace(primary, replica_rollup_age_s=replica.last_rollup_age_s)

    def _read_replica(self, now: datetime) -> Readiness:
        try:
            return self._state(self.to_read, now, "The database to read from")
        except SQLAlchemyError as error:
            structlog.get_logger().error("replica_failed", error=str(error).strip())
            raise NotReadyError("The database to read from cannot be reached.") from None

    def _state(self, engine: Engine, now: datetime, name: str) -> Readiness:
        monitor = monitor_of(engine)
        if monitor is not None and (trouble := monitor.trouble()):
            raise NotReadyError(f"{name} cannot be reached: {trouble}.")
        state = _state_of(engine, now)
        if state.revision != SCHEMA_REVISION:
            raise NotReadyError(
                f"{name} is at revision {state.revision}, this needs {SCHEMA_REVISION}: migrate it."
            )
        if state.last_rollup_age_s is not None and state.last_rollup_age_s > self._ready_within_s:
            raise NotReadyError(
                f"{name} has totals that are {state.last_rollup_age_s} s old, more than"
                f" {self._ready_within_s:g} s: check the jobs, and replication, if there is any."
            )
        return state


def _state_of(engine: Engine, now: datetime) -> Readiness:
    with engine.connect() as connection:
        revision = connection.execute(REVISION).scalar_one_or_none() or "none"
        refreshed_at = connection.execute(REFRESHED_AT).scalar_one_or_none()
    age_s = None if refreshed_at is None else round((now - refreshed_at).total_seconds(), 1)
    return Readiness("ok", revision, age_s)
