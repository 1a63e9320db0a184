"""Reads frames from the database and writes them back by COPY, with pinned types and validated models."""

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
"""An element of a PostgreSQL text array, quoted where necessary."""
_INSTANT_IN = "%Y-%m-%d %H:%M:%S%.f+00"
_INSTANT_OUT = "%Y-%m-%d %H:%M:%S%.6f+00"


def fetch(connection: Connection, query: Relation, model: type[Frame]) -> pl.DataFrame:
    """Return the rows of a query as a frame with exactly the model's types, even if it is empty.

    The connection must be in UTC, as `schemas.db.connections` makes it.

    Raises:
        pandera.errors.SchemaError: the rows do not fit the model.
    """
    return model.checked(fetch_unchecked(connection, query, model))


def fetch_unchecked(connection: Connection, query: Relation, model: type[Frame]) -> pl.DataFrame:
    """Like `fetch`, without validation: for callers that look for wrong rows."""
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT csv)").format(_literal(query))
    order = [column.name for column in query.selected_columns]
    return _parse(_copied(driver_connection(connection), statement), order, model.types())


@contextmanager
def paged(
    connection: Connection, query: Relation, model: type[Frame]
) -> Iterator[Callable[[int], pl.DataFrame]]:
    """Return a function that reads the next rows of a query, up to a given number.

    It uses a server-side cursor: if the query locks rows, a row is locked when it is read.
    """
    with driver_connection(connection).cursor("pages") as cursor:
        cursor.execute(_literal(query))

        def read(most: int) -> pl.DataFrame:
            rows = cursor.fetchmany(most)
            return model.checked(pl.DataFrame(rows, schema=model.types(), orient="row"))

        yield read


def fetch_binary(connection: Connection, query: Relation) -> list[TupleRow]:
    """Return the rows of a query in PostgreSQL's binary format: arrays packed in bytes stay bytes."""
    with driver_connection(connection).cursor(binary=True) as cursor:
        return cursor.execute(_literal(query)).fetchall()


def write(
    connection: Connection, frame: pl.DataFrame, table: Table, merge: Callable[[Table, str], Executable]
) -> None:
    """Write a frame to its table: COPY it to a temporary staging table, then run the statement that
    `merge` builds from the table and the staging table's name.

    Raises:
        pandera.errors.SchemaError: the frame does not fit the table's model.
    """
    rows = FRAMES[table.name].checked(frame.select(table.c.keys()))
    if rows.is_empty():
        return
    twin = f"staged_{table.name}"
    _copy_to_staging(driver_connection(connection).cursor(), rows, table.name, twin)
    connection.execute(merge(table, twin))


def append(connection: Connection, frame: pl.DataFrame, table: Table) -> None:
    """COPY a frame into its table; its keys must be new.

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
    """Read all rows in one wait: iterating over psycopg's `Copy` waits for each, five times as long."""
    data = bytearray()
    while isinstance(row := (yield from copy_from(server)), memoryview):
        data += row
    return data


def _copy_to_staging(cursor: Cursor[TupleRow], rows: pl.DataFrame, table: str, twin: str) -> None:
    """COPY to the staging table, kept for the connection, its rows until the next write or commit."""
    create = "CREATE TEMPORARY TABLE IF NOT EXISTS {} (LIKE {}) ON COMMIT DELETE ROWS"
    cursor.execute(sql.SQL(create).format(sql.Identifier(twin), sql.Identifier(table)))
    cursor.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(twin)))
    _copy(cursor, rows, twin)


def _copy(cursor: Cursor[TupleRow], rows: pl.DataFrame, table: str) -> None:
    """COPY rows without columns that are all null: most reports contain only the power of a load."""
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
