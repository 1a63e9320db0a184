"""Alembic's environment: one migrator at a time, and no waiting for ever behind somebody's lock."""

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.schema import SchemaItem

from schemas.database import Bounds, engine_for
from schemas.revisions import MIGRATION_LOCK
from schemas.settings import ProgramSettings, SettingsError
from schemas.tables import metadata

LOCK_TIMEOUT_MS = 10_000
BOUNDS = Bounds(lock_timeout="10min", statement_timeout="10min", idle_in_transaction_session_timeout="10min")
"""The first is for the migrator before us, and for transactions of the programs that are under way."""


def _is_ours(_item: SchemaItem, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:  # noqa: FBT001
    """Partitions come and go, and other tables in our schema belong to others: neither is in the models."""
    return kind != "table" or name in metadata.tables


def _migrate(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK})
    connection.execute(text(f"SET lock_timeout = {LOCK_TIMEOUT_MS}"))
    connection.commit()
    # Not whichever table of this name comes first on the search path: another program may have one, too.
    home = connection.execute(text("SELECT current_schema()")).scalar_one()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=_is_ours,
        version_table_schema=home,
    )
    with context.begin_transaction():
        context.run_migrations()
    connection.commit()


if context.is_offline_mode():
    raise SystemExit("Migrations need a database to look at: set DATABASE_URL and run without --sql.")

try:
    settings = ProgramSettings.from_environment()
except SettingsError as error:
    raise SystemExit(str(error)) from None
with engine_for(settings.database_url, "migrations", **BOUNDS).connect() as live:
    _migrate(live)
