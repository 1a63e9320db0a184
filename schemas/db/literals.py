"""Statements as text with their values in it, for what takes no parameters: COPY, ADBC, partitions."""

from datetime import datetime

from sqlalchemy import ClauseElement
from sqlalchemy.dialects.postgresql.base import PGCompiler, PGDialect
from sqlalchemy.types import TypeEngine


class _Compiler(PGCompiler):
    """Instants have their type: PostgreSQL would take `'2026-01-15' + interval` for two intervals."""

    def render_literal_value(self, value: object, type_: TypeEngine[object]) -> str:
        text: str = super().render_literal_value(value, type_)  # type: ignore[no-untyped-call]
        return f"TIMESTAMPTZ {text}" if isinstance(value, datetime) and value.tzinfo else text


class _Dialect(PGDialect):
    statement_compiler = _Compiler
    supports_statement_cache = True


_DIALECT = _Dialect(paramstyle="named")  # type: ignore[no-untyped-call]


def sql_with_values(statement: ClauseElement) -> str:
    """The text of a statement; its values are quoted."""
    return str(statement.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))
