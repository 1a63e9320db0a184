"""Alembic's environment: one migration at a time, with time-outs for locks."""

import os

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.schema import SchemaItem

from schemas.db.connections import Bounds, engine_for
from schemas.db.revisions import MIGRATION_LOCK
from schemas.programs.command_line import print_warning
from schemas.programs.exits import DATABASE_ERRORS, end_with_failure, exit_code, exit_message, is_away
from schemas.programs.logs import configure_logs
from schemas.programs.settings import ProgramSettings, SettingsError
from schemas.programs.variables import warn_of_unknown_variables
from schemas.tables import metadata

LOCK_TIMEOUT_MS = 10_000
BOUNDS = Bounds(lock_timeout="10min", statement_timeout="10min", idle_in_transaction_session_timeout="10min")
"""The first is for another migration, and for running transactions of the programs."""


def _is_ours(_item: SchemaItem, name: str | None, kind: str, _reflected: bool, _other: object) -> bool:  # noqa: FBT001
    """Skip partitions and foreign tables in our schema, which are not in the models."""
    return kind != "table" or name in metadata.tables


def _migrate(connection: Connection) -> None:
    connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": MIGRATION_LOCK})
    connection.execute(text(f"SET lock_timeout = {LOCK_TIMEOUT_MS}"))
    connection.commit()
    # In our schema: another program may have a table of this name earlier on the search path.
    home = connection.execute(text("SELECT current_schema()")).scalar_one()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=_is_ours,
        version_table_schema=home,
    )
    with context.begin_transaction():
        context.run_migrations()
    # The server notices later that a connection has been closed: whoever begins now must not find it locked.
    connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": MIGRATION_LOCK})
    connection.commit()


def _run() -> None:
    if context.is_offline_mode():
        raise SettingsError("Migrations need a database to look at: set DATABASE_URL and run without --sql.")
    settings = ProgramSettings.from_environment()
    configure_logs(settings.log_level, settings.log_format)
    warn_of_unknown_variables(os.environ, print_warning)
    engine = engine_for(settings.database_url, "migrations", **BOUNDS)
    with engine.connect() as live:
        _migrate(live)
    engine.dispose()


try:
    _run()
except (SettingsError, *DATABASE_ERRORS) as error:
    if isinstance(error, DATABASE_ERRORS) and not is_away(error):
        raise  # with its traceback: a migration has failed, though the database is there
    end_with_failure(exit_message(error), exit_code(error))
