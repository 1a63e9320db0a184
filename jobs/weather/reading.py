"""Reads files of temperatures, CSV or Parquet, as frames, and checks each line. No database."""

import csv
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import polars as pl
from msgspec import Struct

from schemas.tables.weather import COLDEST_C, HOTTEST_C, SITE
from schemas.times.instants import parse_iso

TIMESTAMP, TEMPERATURE, REGION = "timestamp", "temperature_c", "region"
COLUMNS = f"columns are {TIMESTAMP}, {TEMPERATURE} and perhaps {REGION}"
LINE = "line"
MOST_ERRORS = 20
INSTANT = pl.Datetime("us", "UTC")
IS_POSSIBLE = pl.col("temperature_c").is_between(COLDEST_C, HOTTEST_C).fill_null(value=False)


class WrongFileError(Exception):
    """A file cannot be imported; the message has a line for each error, up to `MOST_ERRORS`."""


class Line(Struct, frozen=True):
    """The number of a line, and its error."""

    number: int
    fault: str


def read_temperatures(path: Path, region: str | None = None) -> pl.DataFrame:
    """Return the temperatures of a file: `region`, `ts`, `temperature_c`; unique by region and time.

    Args:
        path: CSV, or Parquet if its name ends in `.parquet`. Times are ISO 8601, in UTC without a zone.
        region: of all lines, for a file without that column; None: the whole site.

    Raises:
        WrongFileError: the file cannot be read, or a line is wrong.
    """
    rows = _read(path)
    _check_columns(path, rows.columns, region)
    parsed = _parsed(rows, SITE if region is None else region.strip())
    wrong = [*_faults(parsed), *_contradictions(parsed)]
    if wrong:
        raise WrongFileError(_message(path, wrong))
    return parsed.select("region", "ts", "temperature_c").unique(["region", "ts"], maintain_order=True)


def _read(path: Path) -> pl.DataFrame:
    """Return the file with all columns as text, and `line`, the number of each line."""
    try:
        if path.suffix.lower() == ".parquet":
            return _as_text(pl.read_parquet(path)).with_row_index(LINE, 1)
        return _read_csv(path)
    except (OSError, UnicodeDecodeError, csv.Error, pl.exceptions.PolarsError) as error:
        raise WrongFileError(f"{path}: {str(error).splitlines()[0]}; {COLUMNS}") from None


def _read_csv(path: Path) -> pl.DataFrame:
    """Read CSV with Python's reader, as Polars does not number the lines."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.reader(file)
        names = [name.strip() for name in next(reader, [])]
        numbered = [(reader.line_num, row) for row in reader if row]
    ragged = [
        Line(number, f"{len(row)} values, where the first line names {len(names)} columns")
        for number, row in numbered
        if len(row) != len(names)
    ]
    if ragged:
        raise WrongFileError(_message(path, ragged))
    if len(set(names)) < len(names):
        raise WrongFileError(f"{path}: a column is named twice; {COLUMNS}")
    rows = [(number, *row) for number, row in numbered]
    return pl.DataFrame(rows, {LINE: pl.UInt32} | dict.fromkeys(names, pl.String), orient="row")


def _as_text(rows: pl.DataFrame) -> pl.DataFrame:
    """Return all columns as text; times of Parquet files without a zone are UTC, as everywhere."""
    instants = [name for name, dtype in rows.schema.items() if isinstance(dtype, pl.Datetime)]
    utc = [_in_utc(name, rows.schema[name]) for name in instants]
    return rows.with_columns(utc).with_columns(pl.exclude(instants).cast(pl.String))


def _in_utc(name: str, dtype: pl.DataType) -> pl.Expr:
    has_zone = isinstance(dtype, pl.Datetime) and dtype.time_zone is not None
    utc = pl.col(name).dt.convert_time_zone("UTC") if has_zone else pl.col(name).dt.replace_time_zone("UTC")
    return utc.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")


def _check_columns(path: Path, columns: list[str], region: str | None) -> None:
    missing = [name for name in (TIMESTAMP, TEMPERATURE) if name not in columns]
    unknown = [name for name in columns if name not in {LINE, TIMESTAMP, TEMPERATURE, REGION}]
    if missing:
        raise WrongFileError(f"{path}: there is no column {missing[0]}; {COLUMNS}")
    if unknown:
        raise WrongFileError(f"{path}: the column {unknown[0][:40]!r} is not known; {COLUMNS}")
    if region is not None and REGION in columns:
        raise WrongFileError(f"{path}: it has a column {REGION}: leave out --region")


def _parsed(rows: pl.DataFrame, region: str) -> pl.DataFrame:
    """Return `line`, `region`, `ts`, `temperature_c`, and the two texts; null where one cannot be parsed."""
    time_text = rows.get_column(TIMESTAMP).str.strip_chars()
    degrees_text = rows.get_column(TEMPERATURE).str.strip_chars()
    has_regions = REGION in rows.columns
    return rows.select(
        LINE,
        region=pl.col(REGION).str.strip_chars().fill_null(SITE) if has_regions else pl.lit(region),
        ts=pl.Series([_instant(text or "") for text in time_text], dtype=INSTANT),
        temperature_c=degrees_text.cast(pl.Float64, strict=False),
        time_text=time_text,
        degrees_text=degrees_text,
    )


def _instant(text: str) -> datetime | None:
    try:
        return parse_iso(text)
    except ValueError:
        return None


def _faults(parsed: pl.DataFrame) -> Iterator[Line]:
    for row in parsed.filter(pl.col("ts").is_null() | ~IS_POSSIBLE).iter_rows(named=True):
        if row["ts"] is None:
            fault = f"{TIMESTAMP} is {_shown(row['time_text'])}: expected a time as 2026-01-15T17:00:00Z"
        else:
            fault = (
                f"{TEMPERATURE} is {_shown(row['degrees_text'])}: expected degrees Celsius from"
                f" {COLDEST_C:g} to {HOTTEST_C:g}"
            )
        yield Line(row[LINE], fault)


def _shown(text: str | None) -> str:
    return repr(text[:40]) if text else "empty"


def _contradictions(parsed: pl.DataFrame) -> Iterator[Line]:
    """Return lines with another temperature for a time than an earlier line."""
    over = ["region", "ts"]
    first = parsed.filter(pl.col("ts").is_not_null() & IS_POSSIBLE).with_columns(
        first_line=pl.col(LINE).first().over(over), first_c=pl.col("temperature_c").first().over(over)
    )
    for row in first.filter(pl.col("temperature_c") != pl.col("first_c")).iter_rows(named=True):
        where = f" of region {row['region']!r}" if row["region"] else ""
        both = f"{row['temperature_c']:g} °C here and {row['first_c']:g} °C in line {row['first_line']}"
        yield Line(row[LINE], f"{row['time_text']}{where} has {both}")


def _message(path: Path, wrong: list[Line]) -> str:
    ordered = sorted(wrong, key=lambda line: line.number)
    lines = [f"{path}, line {line.number}: {line.fault}" for line in ordered[:MOST_ERRORS]]
    more = [f"and {len(wrong) - MOST_ERRORS} more"] if len(wrong) > MOST_ERRORS else []
    return "\n".join([*lines, *more, "Nothing was imported."])
