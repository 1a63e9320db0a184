"""Statements with typed rows: to SQLAlchemy all columns of a table are `Any`.

A statement of one or two columns, which are unpacked at once, has SQLAlchemy's own type: `Select[str]`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Generic, TypeVar

from msgspec import Struct, structs
from sqlalchemy import ColumnElement, CompoundSelect, Connection, FromClause, Select

Relation = Select[*tuple[object, ...]]
"""A statement that is part of others, or that fills a frame, whose model has the types."""

Union = CompoundSelect[*tuple[object, ...]]
NO_VALUES: Mapping[str, object] = MappingProxyType({})

RowT = TypeVar("RowT", bound=tuple[object, ...])
RowT_co = TypeVar("RowT_co", bound=tuple[object, ...], covariant=True)


class Query(Struct, Generic[RowT_co], frozen=True):
    """A statement, the type of its rows, and the values of its parameters by name.

    `row` is a `NamedTuple` whose fields are the statement's columns, in their order; or `tuple`, for rows
    that are unpacked at once.
    """

    row: type[RowT_co]
    statement: Relation
    values: Mapping[str, object] = NO_VALUES

    def with_values(self, values: Mapping[str, object]) -> "Query[RowT_co]":
        """The query with further values."""
        return structs.replace(self, values={**self.values, **values})

    def bound(self) -> Relation:
        """The statement with its values bound."""
        return self.statement.params(self.values)

    def all(self, connection: Connection) -> list[RowT_co]:
        return list(self.each(connection))

    def each(self, connection: Connection) -> Iterator[RowT_co]:
        """Return the rows; with the connection's option `yield_per` only some at a time are in memory.

        Raises:
            TypeError: the statement's columns are not the fields of the rows.
        """
        result = connection.execute(self.statement, dict(self.values))
        return map(maker(self.row, tuple(result.keys())), result)

    def first(self, connection: Connection) -> RowT_co | None:
        """The only row, or None without one; the statement must not have more."""
        return next(iter(self.all(connection)), None)

    def one(self, connection: Connection) -> RowT_co:
        [row] = self.all(connection)
        return row

    def typed_rows(self, rows: Iterable[Iterable[object]]) -> list[RowT_co]:
        """Convert rows that were read in another way, such as by a connection pool."""
        return list(map(maker(self.row, columns_of(self.statement)), rows))


@lru_cache(maxsize=512)
def columns_of(statement: Relation) -> tuple[str, ...]:
    """Return the names of a statement's columns. The cache compares statements by identity."""
    return tuple(statement.selected_columns.keys())


@lru_cache(maxsize=512)
def maker(row: type[RowT], columns: tuple[str, ...]) -> Callable[[Iterable[object]], RowT]:
    """Return a function that converts values of these columns to a row.

    Raises:
        TypeError: they are not the row's fields.
    """
    fields: tuple[str, ...] | None = getattr(row, "_fields", None)
    if fields is None:
        return row
    if fields != columns:
        raise TypeError(f"{row.__name__} has the fields {fields}, its statement the columns {columns}")
    make: Callable[[Iterable[object]], RowT] = row._make  # type: ignore[attr-defined]
    return make


def fields_of(row: type[tuple[object, ...]], source: FromClause) -> list[ColumnElement[object]]:
    """Return the columns of a table or subquery that are the fields of a row."""
    names: tuple[str, ...] = row._fields  # type: ignore[attr-defined]
    return [source.c[name] for name in names]
