"""A connection to the database that can be made to break at any of its statements."""

from typing import Any

import psycopg
from sqlalchemy import Engine, event

from schemas.db.connections import connect, engine_for


class Fuse:
    """Burns down by one with each statement; at zero the server ends the connection, in the midst of it."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self.left = 0

    def burn(self, connection: psycopg.Connection[Any]) -> None:
        self.left -= 1
        if self.left == 0:
            with psycopg.connect(self._database_url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s::int, 10000)", [connection.info.backend_pid])


def mortal_connection(database_url: str, fuse: Fuse) -> psycopg.Connection:
    """A connection that burns a fuse."""
    connection = connect(database_url, "tests")
    connection.cursor_factory = mortal_cursor(fuse)
    return connection


def mortal_engine(database_url: str) -> tuple[Engine, Fuse]:
    """An engine, and the fuse of its connections; until its `left` is set, they live."""
    fuse = Fuse(database_url)
    engine = engine_for(database_url, "tests")

    @event.listens_for(engine, "connect")
    def made(connection: Any, _record: object) -> None:
        connection.cursor_factory = mortal_cursor(fuse)

    return engine, fuse


def mortal_cursor(fuse: Fuse) -> type[psycopg.Cursor[Any]]:
    class Cursor(psycopg.Cursor[Any]):
        def execute(self, *arguments: Any, **options: Any) -> Any:
            fuse.burn(self.connection)
            return super().execute(*arguments, **options)

        def copy(self, *arguments: Any, **options: Any) -> Any:
            fuse.burn(self.connection)
            return super().copy(*arguments, **options)

    return Cursor
