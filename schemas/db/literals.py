"""Renders statements with literal values, for COPY, ADBC and partitions, which take no parameters."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import ARRAY, ClauseElement, Text
from sqlalchemy.dialects.postgresql.base import PGCompiler, PGDialect
from sqlalchemy.types import TypeEngine


class _Compiler(PGCompiler):
    """Renders instants with their type: PostgreSQL would read `'2026-01-15' + interval` as two intervals.

    An array is one literal, as PostgreSQL parses a long list of expressions slowly.
    """

    def render_literal_value(self, value: object, type_: TypeEngine[object]) -> str:
        if isinstance(type_, ARRAY) and isinstance(value, Sequence):
            literal = super().render_literal_value(_array_text(value), Text())  # type: ignore[no-untyped-call]
            return f"CAST({literal} AS {type_.compile(dialect=self.dialect)})"
        text: str = super().render_literal_value(value, type_)  # type: ignore[no-untyped-call]
        return f"TIMESTAMPTZ {text}" if isinstance(value, datetime) and value.tzinfo else text


def _array_text(values: Sequence[object]) -> str:
    """Return an array in PostgreSQL's text format."""
    return "{" + ",".join("NULL" if each is None else _quoted(str(each)) for each in values) + "}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


class _Dialect(PGDialect):
    statement_compiler = _Compiler
    supports_statement_cache = True


_DIALECT = _Dialect(paramstyle="named")  # type: ignore[no-untyped-call]


def sql_with_values(statement: ClauseElement) -> str:
    """Return the text of a statement with quoted values."""
    return str(statement.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))
