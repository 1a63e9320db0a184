"""Checks the schema revision of the database, in the transaction that depends on it."""

import psycopg

from schemas.db.connections import SCHEMA_REVISION

MIGRATION_LOCK = 0x67726964  # "grid"
"""An advisory lock that a migration holds alone, and every transaction of ingest and jobs together."""

REVISION_NOW = (
    f"CASE WHEN pg_try_advisory_xact_lock_shared({MIGRATION_LOCK})"
    " THEN (SELECT max(version_num) FROM alembic_version) END"
)
"""An expression of SQL: the schema's revision, which stays to the end of the transaction; null while somebody
migrates it.
"""

ADMISSION = f"SELECT {REVISION_NOW}"


class WrongRevisionError(Exception):
    """The database has another schema than this program was written for: nothing is written."""


def require_revision(revision: str | None) -> None:
    """Refuse a schema that this program does not know.

    Raises:
        WrongRevisionError: it is of another revision; or, for None, about to be.
    """
    if revision is None:
        raise WrongRevisionError("the database is being migrated, or has never been: waiting")
    if revision != SCHEMA_REVISION:
        raise WrongRevisionError(
            f"the database is at revision {revision}, this program needs {SCHEMA_REVISION}:"
            " migrate the database, or start the program's other version"
        )


def is_without_schema(error: Exception) -> bool:
    """Whether a statement failed because the database was never migrated."""
    cause = error.__cause__ or error
    return isinstance(cause, psycopg.errors.UndefinedTable)
