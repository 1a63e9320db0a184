"""Checks the schema's revision at the start of a transaction, and sets its timeout for a frozen process."""

from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from jobs.queries import running as running_queries
from schemas.db.connections import IDLE_IN_TRANSACTION_S
from schemas.db.revisions import is_without_schema, require_revision


def admit(connection: Connection, pause_s: float = IDLE_IN_TRANSACTION_S) -> None:
    """Begin a transaction that may compute for `pause_s` seconds between two statements.

    Raises:
        WrongRevisionError: the schema is not at this program's revision.
    """
    try:
        revision = connection.execute(running_queries.admission(pause_s)).scalar_one()
    except ProgrammingError as error:
        if not is_without_schema(error):
            raise
        revision = None
    require_revision(revision)
