"""Tables equal the models of their frames, and the code equals the migrations."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory

from schemas.db.connections import SCHEMA_REVISION
from schemas.tables import FRAMES, metadata

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"

FRAME_TYPES: dict[type[sa.types.TypeEngine[Any]], Any] = {
    sa.Text: pl.String,
    sa.JSON: pl.String,
    sa.Double: pl.Float64,
    sa.DateTime: pl.Datetime("us", "UTC"),
    sa.BigInteger: pl.Int64,
    sa.Integer: pl.Int32,
    sa.SmallInteger: pl.Int16,
    sa.Boolean: pl.Boolean,
    sa.Date: pl.Date,
    sa.LargeBinary: pl.Binary,
}


def frame_type(kind: sa.types.TypeEngine[Any]) -> Any:
    if isinstance(kind, sa.ARRAY):
        return pl.List(frame_type(kind.item_type))
    return FRAME_TYPES[type(kind)]


UNIQUE = (sa.PrimaryKeyConstraint, sa.UniqueConstraint)

tables = pytest.mark.parametrize("table", metadata.sorted_tables, ids=str)


def test_every_table_has_a_frame() -> None:
    assert FRAMES.keys() == metadata.tables.keys()


@tables
def test_the_frame_has_the_tables_columns_and_types(table: sa.Table) -> None:
    expected = {column.name: frame_type(column.type) for column in table.c}
    assert FRAMES[table.name].types() == expected


@tables
def test_the_frame_is_null_where_the_table_may_be(table: sa.Table) -> None:
    frame = FRAMES[table.name].to_schema()
    assert {name: column.nullable for name, column in frame.columns.items()} == {
        column.name: column.nullable for column in table.c
    }


@tables
def test_instants_have_a_zone(table: sa.Table) -> None:
    assert all(column.type.timezone for column in table.c if isinstance(column.type, sa.DateTime))


def test_the_code_needs_the_newest_migration() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == SCHEMA_REVISION


def unique_keys(table: sa.Table) -> list[list[str]]:
    keys = [constraint.columns for constraint in table.constraints if isinstance(constraint, UNIQUE)]
    keys += [index.columns for index in table.indexes if index.unique]
    return [[column.name for column in columns] for columns in keys]


@tables
def test_unique_keys_of_what_belongs_to_a_ven_start_with_it(table: sa.Table) -> None:
    """That lets a cluster spread them by VEN without a change; a rejected message may have no VEN.

    Objects of OpenADR are few, and sought by names of their own: those tables stay on one node.
    """
    if "ven_id" in table.c and not table.name.startswith("openadr_") and not table.c.ven_id.nullable:
        assert [key[0] for key in unique_keys(table)] == ["ven_id"] * len(unique_keys(table))


@tables
def test_keys_are_sorted_as_bytes(table: sa.Table) -> None:
    """Readers and writers order by them; a locale would order them differently on another machine."""
    types = (column.type for column in table.primary_key if column.name != "lane")
    assert all(kind.collation == "C" for kind in types if isinstance(kind, sa.Text))
