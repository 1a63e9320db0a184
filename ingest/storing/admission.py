"""Checks, in each writing transaction, that the database has the schema revision of this program."""

import psycopg

from schemas.db.revisions import ADMISSION, require_revision


def admit(connection: psycopg.Connection) -> None:
    """Begin a transaction that writes.

    Raises:
        WrongRevisionError: the schema is another one, or is being migrated.
    """
    row = connection.execute(ADMISSION.encode()).fetchone()
    require_revision(row[0] if row else None)
