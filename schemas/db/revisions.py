"""Checks the schema revision of the database, in the transaction that depends on it."""

import psycopg

from schemas.db.connections import SCHEMA_REVISION

MIGRATION_LOCK = 0x67726964  # "grid"
"""An advisory lock: exclusive for a migration, shared by every transaction of ingest and jobs."""

REVISION_NOW = (
    f"CASE WHEN pg_try_advisory_xact_lock_shared({MIGRATION_LOCK})"
    " THEN (SELECT max(version_num) FROM alembic_version) END"
)
"""SQL expression: the schema's revision, locked to the end of the transaction; null during a migration.
"""

ADMISSION = f"SELECT {REVISION_NOW}"


class WrongRevisionError(Exception):
    """The database's schema is not at this program's revision: nothing is written."""


def require_revision(revision: str | None) -> None:
    """Refuse a schema of another revision.

    Raises:
        WrongRevisionError: it has another revision; or None, during a migration.
    """
    if revision is None:
        raise WrongRevisionError("the database is being migrated, or has never been: waiting")
    if revision != SCHEMA_REVISION:
        raise WrongRevisionError(
            f"the database is at revision {revision}, this program needs {SCHEMA_REVISION}:"
            " migrate the database, or start the program's other version"
        )


def is_without_schema(error: Exception) -> bool:
    """Return whether a statement failed because the database was never migrated."""
    cause = error.__cause__ or error
    return isinstance(cause, psycopg.errors.UndefinedTable)
