"""Statements that are compiled once: SQLAlchemy takes longer to compile one than PostgreSQL to run it."""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import cast

from msgspec import Struct
from sqlalchemy import (
    BindParameter,
    DateTime,
    Executable,
    Subquery,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.sql.compiler import SQLCompiler

from schemas.db.queries import Relation

VEN_ID: BindParameter[str] = bindparam("ven_id")
LOAD_ID: BindParameter[str] = bindparam("load_id")

_CONSTANT = "constant_"
_PLACEHOLDER = re.compile(r"\$(\d+)")
_SAME_RANGES = re.compile(
    r"([\w.]+ >= '[^']+'::[\w ]+ AND [\w.]+ < '[^']+'::TIMESTAMP WITH TIME ZONE)(?: OR \1)+"
)
"""The fixed number of ranges of constants; unused ones are filled up."""


def constant(name: str) -> BindParameter[datetime]:
    """Return an instant that a prepared statement contains as a constant, not as a parameter.

    A generic plan opens and locks all partitions that parameters could select; constants let PostgreSQL prune
    partitions when it plans. Each set of constants is a statement of its own, so there should be few:
    midnights, not arbitrary instants.
    """
    return bindparam(constant_name(name), type_=DateTime(timezone=True))


def constant_name(name: str) -> str:
    """The name of a constant among the values of a query."""
    return f"{_CONSTANT}{name}"


class StatementText(Struct, frozen=True):
    """A statement in PostgreSQL's syntax, with `$1` for its first value; `names` are in that order."""

    sql: str
    names: Sequence[str]
    constants: Mapping[str, object]

    def arguments(self, values: Mapping[str, object]) -> list[object]:
        """Return the values of the placeholders, in order."""
        return [values[name] if name in values else self.constants[name] for name in self.names]


@lru_cache(maxsize=512)
def text_of(statement: Executable) -> StatementText:
    """Compile a statement. The cache compares statements by identity, so each must be built once."""
    compiled: SQLCompiler = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})  # type: ignore[attr-defined]
    return StatementText(compiled.string, compiled.positiontup or (), compiled.params)


def text_for(statement: Executable, values: Mapping[str, object]) -> StatementText:
    """Return the text of a statement with the values of its constants."""
    names = _constants_of(statement)
    if not names:
        return text_of(statement)
    return _with_constants(statement, tuple([cast("datetime", values[name]) for name in names]))


@lru_cache(maxsize=512)
def _constants_of(statement: Executable) -> Sequence[str]:
    return [name for name in text_of(statement).names if name.startswith(_CONSTANT)]


@lru_cache(maxsize=512)
def _with_constants(statement: Executable, constants: tuple[datetime, ...]) -> StatementText:
    text, names = text_of(statement), _constants_of(statement)
    literals = {name: f"'{at.isoformat()}'" for name, at in zip(names, constants, strict=True)}
    left = [name for name in text.names if name not in literals]

    def replaced(placeholder: re.Match[str]) -> str:
        name = text.names[int(placeholder[1]) - 1]
        return literals.get(name) or f"${left.index(name) + 1}"

    sql = _SAME_RANGES.sub(r"\1", _PLACEHOLDER.sub(replaced, text.sql))
    return StatementText(sql, left, text.constants)


@lru_cache(maxsize=512)
def side_by_side(*statements: Relation) -> Relation:
    """Return one row with each column of each statement as an array, null without rows."""
    columns = (column for statement in statements for column in _as_arrays(statement).c)
    return select(*(column.label(f"column_{number}") for number, column in enumerate(columns)))


def _as_arrays(statement: Relation) -> Subquery:
    """Aggregate the columns in the statement's order, as only the aggregates are above it."""
    return select(*(func.array_agg(column) for column in statement.subquery().c)).subquery()


_DIALECT = PGDialect_psycopg(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
