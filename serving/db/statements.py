"""Statements that are built once: SQLAlchemy takes longer to build one than PostgreSQL to run it."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from msgspec import Struct
from sqlalchemy import Connection, Executable, Result, Select, Subquery, bindparam, func, select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

VEN_ID: Any = bindparam("ven_id")
LOAD_ID: Any = bindparam("load_id")


class Query(Struct, frozen=True):
    """A statement that many requests share, and its values by name."""

    statement: Select[Any]
    values: Mapping[str, Any] = MappingProxyType({})

    def bound(self) -> Select[Any]:
        """The statement with its values bound."""
        return self.statement.params(self.values)

    def run(self, connection: Connection) -> Result[Any]:
        return connection.execute(self.statement, dict(self.values))


class StatementText(Struct, frozen=True):
    """A statement in PostgreSQL's syntax, with `$1` for its first value; `names` are in their order."""

    sql: str
    names: Sequence[str]
    constants: Mapping[str, Any]


@lru_cache(maxsize=512)
def text_of(statement: Executable) -> StatementText:
    """The cache compares statements by identity, so each must be built once."""
    compiled: Any = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})  # type: ignore[attr-defined]
    return StatementText(compiled.string, compiled.positiontup or (), compiled.params)


@lru_cache(maxsize=512)
def side_by_side(*statements: Select[Any]) -> Select[Any]:
    """One row: each column of each statement as an array, null if there are no rows."""
    columns = (column for statement in statements for column in _as_arrays(statement).c)
    return select(*(column.label(f"column_{number}") for number, column in enumerate(columns)))


def _as_arrays(statement: Select[Any]) -> Subquery:
    """In the order of the statement, as it stands below nothing but the aggregates."""
    return select(*(func.array_agg(column) for column in statement.subquery().c)).subquery()


_DIALECT = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
