"""May this transaction write: the schema must be the one that this program was written for."""

from typing import Any

import psycopg

from schemas.revisions import ADMISSION, require_revision


def admit(connection: psycopg.Connection[Any]) -> None:
    """Begin a transaction that writes.

    Raises:
        WrongRevisionError: the schema is another one, or is being migrated.
    """
    row = connection.execute(ADMISSION.encode()).fetchone()
    require_revision(row[0] if row else None)
