"""Frames out of the database and back: COPY both ways, types pinned, every frame checked at the border."""

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import polars as pl
import psycopg
from psycopg import Cursor, sql
from psycopg.abc import PQGen
from psycopg.generators import copy_from
from psycopg.pq.abc import PGconn
from psycopg.rows import TupleRow
from sqlalchemy import Connection, Executable, Table

from schemas.db.connections import driver_connection
from schemas.db.frame_models import DataType
from schemas.db.literals import sql_with_values
from schemas.db.queries import Relation
from schemas.tables import FRAMES, Frame

_DAY = r"\d{4,}-\d\d-\d\d"
_TEXT = r'"(?:[^"\\]|\\.)*"|[^",{}]+'
"""An element of PostgreSQL's array of texts: in quotes where it has to be."""
_INSTANT_IN = "%Y-%m-%d %H:%M:%S%.f+00"
_INSTANT_OUT = "%Y-%m-%d %H:%M:%S%.6f+00"


def fetch(connection: Connection, query: Relation, model: type[Frame]) -> pl.DataFrame:
    """The rows of a query as a frame of exactly the model's types, also when there are none.

    The connection must be in UTC, as `schemas.db.connections` makes it.

    Raises:
        pandera.errors.SchemaError: the rows do not fit the model.
    """
    return model.checked(fetch_unchecked(connection, query, model))


def fetch_unchecked(connection: Connection, query: Relation, model: type[Frame]) -> pl.DataFrame:
    """As `fetch`, but however wrong the rows are: for who looks for just that."""
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(_literal(query))
    order = [column.name for column in query.selected_columns]
    return _parse(_copied(driver_connection(connection), statement), order, model.types())


@contextmanager
def paged(
    connection: Connection, query: Relation, model: type[Frame]
) -> Iterator[Callable[[int], pl.DataFrame]]:
    """A function that reads the next rows of a query, at most as many as it is given.

    A cursor of the server: where the query locks its rows, a row is locked when it is read.
    """
    with driver_connection(connection).cursor("pages") as cursor:
        cursor.execute(_literal(query))

        def read(most: int) -> pl.DataFrame:
            rows = cursor.fetchmany(most)
            return model.checked(pl.DataFrame(rows, schema=model.types(), orient="row"))

        yield read


def fetch_binary(connection: Connection, query: Relation) -> list[TupleRow]:
    """The rows of a query as PostgreSQL sends them in binary: arrays packed in bytes are not spelled out."""
    with driver_connection(connection).cursor(binary=True) as cursor:
        return cursor.execute(_literal(query)).fetchall()


def write(
    connection: Connection, frame: pl.DataFrame, table: Table, merge: Callable[[Table, str], Executable]
) -> None:
    """Bring a frame into its table: COPY to a temporary twin, then the statement that
    `merge` makes of the table and the twin's name.

    Raises:
        pandera.errors.SchemaError: the frame does not fit the table's model.
    """
    rows = FRAMES[table.name].checked(frame.select(table.c.keys()))
    if rows.is_empty():
        return
    twin = f"staged_{table.name}"
    _copy_to_twin(driver_connection(connection).cursor(), rows, table.name, twin)
    connection.execute(merge(table, twin))


def append(connection: Connection, frame: pl.DataFrame, table: Table) -> None:
    """COPY a frame into its table, none of whose keys are there yet.

    Raises:
        pandera.errors.SchemaError: the frame does not fit the table's model.
    """
    rows = FRAMES[table.name].checked(frame.select(table.c.keys()))
    if not rows.is_empty():
        _copy(driver_connection(connection).cursor(), rows, table.name)


def _literal(query: Relation) -> sql.SQL:
    return sql.SQL(sql_with_values(query))


def _copied(connection: psycopg.Connection, statement: sql.Composed) -> bytearray:
    with connection.cursor().copy(statement):
        return connection.wait(_all_rows(connection.pgconn))


def _all_rows(server: PGconn) -> PQGen[bytearray]:
    """In one wait: to iterate over psycopg's `Copy` takes a wait, and five times as long, for each row."""
    data = bytearray()
    while isinstance(row := (yield from copy_from(server)), memoryview):
        data += row
    return data


def _copy_to_twin(cursor: Cursor[TupleRow], rows: pl.DataFrame, table: str, twin: str) -> None:
    """The twin lives as long as the connection, its rows until the next write or the transaction's end."""
    create = "CREATE TEMPORARY TABLE IF NOT EXISTS {} (LIKE {}) ON COMMIT DELETE ROWS"
    cursor.execute(sql.SQL(create).format(sql.Identifier(twin), sql.Identifier(table)))
    cursor.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(twin)))
    _copy(cursor, rows, twin)


def _copy(cursor: Cursor[TupleRow], rows: pl.DataFrame, table: str) -> None:
    """Columns in which nothing stands are not sent: most reports say no more of a load than its power."""
    columns = [column.name for column in rows if column.null_count() < rows.height]
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    copy_in = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(sql.Identifier(table), names)
    with cursor.copy(copy_in) as copy:
        copy.write(rows.select(columns).write_csv(include_header=False, datetime_format=_INSTANT_OUT))


def _parse(data: bytearray, order: list[str], types: Mapping[str, DataType]) -> pl.DataFrame:
    if not data:
        return pl.DataFrame(schema={name: types[name] for name in order})
    as_text = {name: _read_as(types[name]) for name in order}
    frame = pl.read_csv(io.BytesIO(data), has_header=False, schema=as_text)
    return frame.with_columns(_typed(name, types[name]) for name in order)


def _read_as(dtype: DataType) -> DataType:
    return pl.String if dtype == pl.Boolean or isinstance(dtype, pl.Datetime | pl.List) else dtype


def _typed(name: str, dtype: DataType) -> pl.Expr:
    column = pl.col(name)
    if dtype == pl.Boolean:
        return column == "t"
    if isinstance(dtype, pl.Datetime):
        return column.str.to_datetime(_INSTANT_IN, time_unit="us", time_zone="UTC")
    if dtype == pl.List(pl.Date):
        return column.str.extract_all(_DAY).list.eval(pl.element().str.to_date())
    if dtype == pl.List(pl.String):
        bare = pl.element().str.replace('^"(.*)"$', "$1").str.replace_all(r"\\(.)", "$1")
        return column.str.extract_all(_TEXT).list.eval(bare)
    return column
