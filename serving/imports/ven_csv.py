"""The CSV form in which VENs are imported and exported: one line for each VEN. Pure.

A file is declarative: its columns are set for each VEN, an empty cell removes the value, and missing columns
stay unchanged. `read` reads back unchanged what `lines` writes, also texts that a spreadsheet would take for
formulas.
"""

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import Struct

from schemas.api.fields import NO_SEGMENTS, PATTERNS, PLAIN, VEN_WORDS
from schemas.api.ven_imports import ImportProblem
from schemas.devices.identifiers import TOPIC_LEVEL_PATTERN

ID = "id"
PLACE = ("lat", "lon")
STORED: Mapping[str, str] = MappingProxyType(
    {
        ID: "ven_id",
        "name": "name",
        "lat": "latitude_deg",
        "lon": "longitude_deg",
        "registrationId": "registration_id",
        "address": "address",
        "region": "region",
        "tags": "tags",
    }
)
"""The columns of the form, and the columns of the table `vens`."""

MOST_ROWS = 100_000
MOST_PROBLEMS = 1_000
"""Most problems that are listed; the others are counted."""

LONGEST_TEXT = 255
MOST_TAGS = 100
BYTE_ORDER_MARK = "\ufeff"
FORMULA = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""Texts that spreadsheets take for formulas, possibly after apostrophes: written with one more."""

Values = Mapping[str, object]


class VenFileRow(Struct, frozen=True):
    """A line of a file: its number, the VEN, and the values by the columns of the table `vens`."""

    line: int
    ven_id: str
    values: Values


class VenFile(Struct, frozen=True):
    """A parsed file: the columns that it sets, its rows, and its problems."""

    columns: Sequence[str]
    rows: Sequence[VenFileRow]
    problems: Sequence[ImportProblem]


class _CellError(ValueError):
    """A wrong cell: its column, and the fix."""

    def __init__(self, field: str, advice: str) -> None:
        super().__init__(advice)
        self.field = field


def read(text: str) -> VenFile:
    """Parse a file, separated by commas or semicolons; rows with problems are left out."""
    text = text.removeprefix(BYTE_ORDER_MARK)
    first = text.partition("\n")[0]
    separator = ";" if ";" in first and "," not in first else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    records = _records(reader)
    try:
        _line, header = next(records, (1, []))
        names = [name.strip() for name in header]
        if problem := _header_problem(names):
            return VenFile((), (), (problem,))
        return _read_rows(names, records)
    except csv.Error as error:
        return VenFile((), (), (ImportProblem(reader.line_num or 1, "", f"is no CSV: {error}"),))


def lines(vens: Iterable[Values]) -> Iterator[str]:
    """Yield the header, then a line for each VEN, from the columns of the table `vens`."""
    yield _line(STORED)
    for ven in vens:
        yield _line(_written(ven[column]) for column in STORED.values())


def _read_rows(names: Sequence[str], records: Iterator[tuple[int, list[str]]]) -> VenFile:
    rows, problems, first_lines = list[VenFileRow](), list[ImportProblem](), dict[str, int]()
    for line, cells in records:
        try:
            row = _row(line, names, cells)
            _require_new(row, first_lines)
            rows.append(row)
        except _CellError as error:
            problems.append(ImportProblem(line, error.field, str(error)))
        if len(rows) > MOST_ROWS:
            problems.append(ImportProblem(line, "", f"a file has at most {MOST_ROWS} VENs: divide it"))
            break
    columns = [STORED[name] for name in names if name != ID]
    return VenFile(columns, rows, problems)


def _records(reader: Any) -> Iterator[tuple[int, list[str]]]:  # noqa: ANN401 - a reader of the module csv
    """Yield the records with the number of their first line, without empty lines."""
    line = 1
    for record in reader:
        if record:
            yield line, record
        line = reader.line_num + 1


def _header_problem(names: Sequence[str]) -> ImportProblem | None:
    columns = ", ".join(STORED)
    for name in names:
        if name not in STORED:
            return ImportProblem(1, name, f"is no column; there are {columns}")
        if names.count(name) > 1:
            return ImportProblem(1, name, "is there twice")
    if ID not in names:
        return ImportProblem(1, ID, f"is missing: the first line has the names of columns, of {columns}")
    if len({*PLACE} & {*names}) == 1:
        return ImportProblem(1, "lat", "and lon must be there together, or neither")
    return None


def _row(line: int, names: Sequence[str], cells: Sequence[str]) -> VenFileRow:
    if len(cells) != len(names):
        raise _CellError("", f"has {len(cells)} cells, and the first line {len(names)}")
    values = {name: READERS.get(name, _text)(name, cell) for name, cell in zip(names, cells, strict=True)}
    if len([name for name in PLACE if values.get(name) is not None]) == 1:
        raise _CellError("lat", "and lon must be given together, or neither")
    ven_id = str(values.pop(ID))
    return VenFileRow(line, ven_id, {STORED[name]: value for name, value in values.items()})


def _require_new(row: VenFileRow, first_lines: dict[str, int]) -> None:
    first = first_lines.setdefault(row.ven_id, row.line)
    if first != row.line:
        raise _CellError(ID, f"{row.ven_id!r} is in line {first} already")


def _text(name: str, cell: str) -> str | None:
    """Return a text without control characters; None for an empty cell."""
    text = _unquoted(cell)
    return _checked(name, text) if text else None


def _unquoted(cell: str) -> str:
    """Return the cell without the apostrophe that protects it from being read as a formula."""
    return cell[1:] if cell.startswith("'") and FORMULA.match(cell[1:]) else cell


def _checked(name: str, text: str) -> str:
    if len(text) > LONGEST_TEXT:
        raise _CellError(name, f"has {len(text)} characters; at most {LONGEST_TEXT}")
    if not re.search(PLAIN, text):
        raise _CellError(name, f"must be {PATTERNS[PLAIN]}")
    return text


def _ven_id(name: str, cell: str) -> str:
    ven_id = _text(name, cell)
    if ven_id is None:
        raise _CellError(name, "is empty: each VEN needs one")
    if not re.search(TOPIC_LEVEL_PATTERN, ven_id):
        raise _CellError(name, f"must be {PATTERNS[TOPIC_LEVEL_PATTERN]}")
    if ven_id in (*VEN_WORDS, *NO_SEGMENTS):
        raise _CellError(name, f"must not be {ven_id!r}: its path is that of a route")
    return ven_id


def _degrees(most: float) -> Callable[[str, str], float | None]:
    def read_degrees(name: str, cell: str) -> float | None:
        if not cell.strip():
            return None
        try:
            degrees = float(cell)
        except ValueError:
            degrees = most + 1
        if not -most <= degrees <= most:
            raise _CellError(
                name, f"must be degrees from -{most:g} to {most:g}, such as 13.405, not {cell:.20}"
            )
        return degrees

    return read_degrees


def _tags(name: str, cell: str) -> list[str]:
    """Parse words separated by semicolons, or a JSON list, for words with semicolons."""
    if cell.startswith("["):
        try:
            words = msgspec.json.decode(cell, type=list[str])
        except (ValueError, RecursionError):
            raise _CellError(name, 'must be words separated by semicolons, or JSON such as ["a;b"]') from None
    else:
        words = [word.strip() for word in _unquoted(cell).split(";")]
    tags = {_checked(name, word) for word in words if word}
    if len(tags) > MOST_TAGS:
        raise _CellError(name, f"has {len(tags)} words; at most {MOST_TAGS}")
    return sorted(tags)


READERS: Mapping[str, Callable[[str, str], object]] = MappingProxyType(
    {ID: _ven_id, "lat": _degrees(90), "lon": _degrees(180), "tags": _tags}
)
"""Parsers of columns other than plain text."""


def _written(value: object) -> str:
    match value:
        case None:
            return ""
        case float():
            return repr(value)
        case list():
            text = ";".join(value)
            is_plain = not any(";" in word or word != word.strip() for word in value)
            text = text if is_plain and not text.startswith("[") else msgspec.json.encode(value).decode()
        case _:
            text = str(value)
    return f"'{text}" if FORMULA.match(text) else text


def _line(cells: Iterable[str]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerow(cells)
    return buffer.getvalue()
