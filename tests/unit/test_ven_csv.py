"""The CSV form of VENs: what is written is read back, and each wrong cell is named with its line."""

import csv
import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.imports import ven_csv
from serving.imports.ven_csv import FORMULA, STORED, read

PLAIN_TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=20)
FORMULAS = st.sampled_from(["=1+1", "-1", "@x", "'=x", "''+y", "\uff1d1", "'", "'a"])
TEXT = PLAIN_TEXT | FORMULAS
NULLABLE = st.none() | TEXT
VENS = st.fixed_dictionaries(
    {
        "name": NULLABLE,
        "place": st.none() | st.tuples(st.floats(-90, 90), st.floats(-180, 180)),
        "registration_id": NULLABLE,
        "address": NULLABLE,
        "region": NULLABLE,
        "tags": st.sets(TEXT | st.sampled_from(["a;b", "[x", " led", "=a"]), max_size=3).map(sorted),
    }
)


def as_row(number: int, ven: dict[str, Any]) -> dict[str, Any]:
    latitude_deg, longitude_deg = ven["place"] or (None, None)
    rest = {name: value for name, value in ven.items() if name != "place"}
    return {"ven_id": f"v{number}", "latitude_deg": latitude_deg, "longitude_deg": longitude_deg, **rest}


@given(st.lists(VENS, max_size=4))
def test_what_is_written_is_read_back(vens: list[dict[str, Any]]) -> None:
    written = [as_row(number, ven) for number, ven in enumerate(vens)]
    file = read("".join(ven_csv.lines(written)))
    assert list(file.problems) == []
    assert [{"ven_id": row.ven_id, **row.values} for row in file.rows] == written
    assert set(file.columns) == set(STORED.values()) - {"ven_id"}


@given(st.lists(VENS, min_size=1, max_size=3))
def test_no_cell_is_a_formula_to_a_spreadsheet(vens: list[dict[str, Any]]) -> None:
    text = "".join(ven_csv.lines(as_row(number, ven) for number, ven in enumerate(vens)))
    for record in list(csv.reader(io.StringIO(text, newline="")))[1:]:
        texts = [cell for name, cell in zip(STORED, record, strict=True) if name not in {"lat", "lon"}]
        assert not any(FORMULA.match(cell) and not cell.startswith("'") for cell in texts)


def problems(text: str) -> list[tuple[int, str]]:
    return [(each.line, each.field) for each in read(text).problems]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", [(1, "id")]),
        ("name\na", [(1, "id")]),
        ("id,nam\na,b", [(1, "nam")]),
        ("id,name,name\na,b,c", [(1, "name")]),
        ("id,lat\na,1", [(1, "lat")]),
        ("id,name\na", [(2, "")]),
        ("id,name\na,b,c", [(2, "")]),
        ("id\na/b\nb\nc+d\n", [(2, "id"), (4, "id")]),
        ("id\nhistory\nimport\n..\n", [(2, "id"), (3, "id"), (4, "id")]),
        ("id,name\na,x\n\nb,y\na,z\n", [(5, "id")]),
        ('id,name\na,"x\ny"\n,z\n', [(2, "name"), (4, "id")]),
        ("id,lat,lon\na,91,0\nb,0,181\nc,nan,0\nd,52.5,13.4\ne,52,\nf,x,0\ng,,\n",
         [(2, "lat"), (3, "lon"), (4, "lat"), (6, "lat"), (7, "lat")]),
        (f"id,name\na,{'x' * 256}\nb,{'x' * 255}\n", [(2, "name")]),
        ('id,tags\na,"[1]"\nb,"[""x""]"\nc,' + ";".join(map(str, range(101))) + "\n",
         [(2, "tags"), (4, "tags")]),
        ('id,name\na,"x" y\n', [(2, "")]),
        ('id,name\na,x\nb,"never closed\n', [(3, "")]),
    ],
)  # fmt: skip
def test_each_problem_is_named_with_its_line(text: str, found: list[tuple[int, str]]) -> None:
    assert problems(text) == found


@pytest.mark.parametrize(
    "text",
    ["id,name,tags\r\na,Farm,x;y\r\n", 'id;name;tags\na;Farm;"x;y"', "\ufeffid,name,tags\na,Farm,y; x;x\n"],
)
def test_files_of_several_programs(text: str) -> None:
    file = read(text)
    assert not file.problems
    [row] = file.rows
    assert (row.ven_id, row.values) == ("a", {"name": "Farm", "tags": ["x", "y"]})


def test_a_file_may_be_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ven_csv, "MOST_ROWS", 3)
    assert problems("id\na\nb\nc\n") == []
    assert problems("id\na\nb\nc\nd\ne\n") == [(5, "")]
