"""Statements with their values in them mean what they mean with parameters."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import ARRAY, DateTime, Double, Interval, Select, Text, bindparam, column, literal, select
from sqlalchemy.types import TypeEngine

from schemas.db.literals import sql_with_values
from schemas.times.slots import floor

AT = datetime(2026, 1, 15, 17, 10, tzinfo=UTC)
ZONED = datetime(2026, 1, 15, 18, 10, tzinfo=timezone(timedelta(hours=1)))


@pytest.mark.parametrize("type_", [DateTime(timezone=True), None])
@pytest.mark.parametrize("at", [AT, ZONED])
def test_instants_have_a_type(at: datetime, type_: TypeEngine[datetime] | None) -> None:
    """`'2026-01-15' + interval` was two intervals to PostgreSQL: histories over ADBC failed."""
    assert f"TIMESTAMPTZ '{at}' + " in sql_with_values(
        select(bindparam("at", at, type_) + literal(timedelta(minutes=30), Interval))
    )


def test_other_values_are_as_they_were() -> None:
    statement: Select[Any] = select(column("name")).where(column("name") == "it's", column("count") > 3)
    assert sql_with_values(statement).endswith("name = 'it''s' AND count > 3")


@pytest.mark.parametrize(
    ("item", "values", "text"),
    [
        (Double(), [1.5, None, -2e-7], """CAST('{"1.5",NULL,"-2e-07"}' AS DOUBLE PRECISION[])"""),
        (
            Text(),
            ['b é"', "it's", "\\", "NULL", ""],
            """CAST('{"b é\\"","it''s","\\\\","NULL",""}' AS TEXT[])""",
        ),
        (DateTime(timezone=True), [AT], f"""CAST('{{"{AT}"}}' AS TIMESTAMP WITH TIME ZONE[])"""),
        (Text(), [], "CAST('{}' AS TEXT[])"),
    ],
)
def test_an_array_is_one_literal(item: TypeEngine[Any], values: list[Any], text: str) -> None:
    assert sql_with_values(select(bindparam("values", values, ARRAY(item)))).startswith(f"SELECT {text} AS")


def test_slots_are_floored_of_instants() -> None:
    floored = sql_with_values(
        select(floor(literal(AT, DateTime(timezone=True)), literal(timedelta(minutes=5))))
    )
    assert floored.count("TIMESTAMPTZ '") == 2
