"""Columns of the API's shapes: the type of each, also of a choice of words or of numbers."""

import csv
import io
from collections.abc import Callable
from typing import Literal

import pyarrow as pa
import pytest
from msgspec import Struct

from schemas.api.histories import VenPowerPoint
from schemas.api.statistics import LoadTypeStats
from schemas.api.vens import Load, Ven, VenSummary
from serving.http.formats import Column, batch, columnar_body, flat, nested, schema_of
from serving.http.parameters.media import CSV


class Choices(Struct, frozen=True):
    word: Literal["a", "b"]
    number: Literal[5, 15]
    maybe: Literal[5, 15] | None


class Mixed(Struct, frozen=True):
    either: Literal["a", 5]


@pytest.mark.parametrize("columns", [nested, flat])
def test_a_choice_has_the_type_of_its_values(columns: Callable[[type[Struct]], list[Column]]) -> None:
    """A choice of numbers was a column of texts: the list of VENs answered 500 in Arrow, Parquet and CSV."""
    made = columns(Choices)
    rows = batch(made, schema_of(made), [Choices("a", 5, None), Choices("b", 15, 15)])
    assert rows.schema.types == [pa.string(), pa.int64(), pa.int64()]
    assert rows.to_pylist()[1] == {"word": "b", "number": 15, "maybe": 15}


class Named(Struct, frozen=True):
    name: str
    power_kw: float


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@A1", "\t=1", "\r=1", "\n=1", "\uff1d1", "\uff0b1"])
def test_a_formula_of_a_device_is_a_text(name: str) -> None:
    """Behind a line break, or with full-width signs, it was one."""
    body = b"".join(columnar_body(CSV, Named, [[Named(name, -1.5)]]).blocks).decode()
    [_header, row] = csv.reader(io.StringIO(body, newline=""))
    assert row == ["'" + name, "-1.5"]


@pytest.mark.parametrize("name", ["", "1=1", "a+b", "'=1", "x\n=1"])
def test_other_texts_stay_as_they_are(name: str) -> None:
    body = b"".join(columnar_body(CSV, Named, [[Named(name, 0.0)]]).blocks).decode()
    assert list(csv.reader(io.StringIO(body, newline="")))[1][0] == name


def test_a_choice_of_words_and_numbers_is_no_column() -> None:
    with pytest.raises(TypeError, match="not of one type"):
        nested(Mixed)


@pytest.mark.parametrize("shape", [Ven, VenSummary, Load, LoadTypeStats, VenPowerPoint])
def test_shapes_have_columns(shape: type[Struct]) -> None:
    assert len(nested(shape)) <= len(flat(shape))
