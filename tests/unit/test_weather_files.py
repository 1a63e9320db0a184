"""Files of temperatures: values are read, and errors name the line."""

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest

from jobs.weather.reading import WrongFileError, read_temperatures

MIDNIGHT = datetime(2026, 1, 15, tzinfo=UTC)
HOUR = timedelta(hours=1)


def csv_file(folder: Path, *lines: str) -> Path:
    path = folder / "degrees.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def fault(path: Path, region: str | None = None) -> str:
    with pytest.raises(WrongFileError) as error:
        read_temperatures(path, region)
    return str(error.value).replace(f"{path}", "FILE")


def test_columns_may_stand_in_any_order_and_times_have_any_zone(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        "\ufefftemperature_c, timestamp ,region",
        "-3.5,2026-01-15T00:00:00Z,north",
        '4,2026-01-15T02:00:00+01:00,"south, low"',
        "",
        "5e0,2026-01-15T02:00,",
    )
    assert read_temperatures(path).rows() == [
        ("north", MIDNIGHT, -3.5),
        ("south, low", MIDNIGHT + HOUR, 4.0),
        ("", MIDNIGHT + 2 * HOUR, 5.0),
    ]


def test_one_region_for_all_lines(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "timestamp,temperature_c", "2026-01-15,7")
    assert read_temperatures(path, " north ").rows() == [("north", MIDNIGHT, 7.0)]
    assert read_temperatures(path).rows() == [("", MIDNIGHT, 7.0)]


@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
@pytest.mark.parametrize("unit", ["ms", "ns"])
def test_parquet_has_times_of_any_zone(tmp_path: Path, zone: str | None, unit: str) -> None:
    """Without a zone they are UTC."""
    at = pl.Series([MIDNIGHT, MIDNIGHT + HOUR]).dt.cast_time_unit(unit)  # type: ignore[arg-type]
    at = at.dt.convert_time_zone(zone) if zone else at.dt.replace_time_zone(None)
    path = tmp_path / "degrees.PARQUET"
    pl.DataFrame({"timestamp": at, "temperature_c": [1, 2]}).write_parquet(path)
    assert read_temperatures(path).rows() == [("", MIDNIGHT, 1.0), ("", MIDNIGHT + HOUR, 2.0)]


def test_parquet_has_times_as_text_too(tmp_path: Path) -> None:
    path = tmp_path / "degrees.parquet"
    pl.DataFrame({"timestamp": ["2026-01-15T00:00Z", "x"], "temperature_c": [1.5, 2.0]}).write_parquet(path)
    assert "FILE, line 2: timestamp is 'x'" in fault(path)


def test_every_wrong_line_is_named(tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        "timestamp,temperature_c,region",
        "2026-01-15T00:00:00Z,3.5,north",
        "15.1.2026,3.5,north",
        "2026-01-15T01:00:00Z,,north",
        "2026-01-15T01:00:00Z,nan,north",
        "2026-01-15T01:00:00Z,68,north",
        "2026-01-15T01:00:00+01:00,4.5,north",
        "2026-01-15T00:00:00Z,3.5,north",
        "2026-01-15T00:00:00Z,4.5,south",
    )
    assert fault(path).splitlines() == [
        "FILE, line 3: timestamp is '15.1.2026': expected a time as 2026-01-15T17:00:00Z",
        "FILE, line 4: temperature_c is empty: expected degrees Celsius from -90 to 60",
        "FILE, line 5: temperature_c is 'nan': expected degrees Celsius from -90 to 60",
        "FILE, line 6: temperature_c is '68': expected degrees Celsius from -90 to 60",
        "FILE, line 7: 2026-01-15T01:00:00+01:00 of region 'north' has 4.5 °C here and 3.5 °C in line 2",
        "Nothing was imported.",
    ]


def test_a_file_of_nothing_but_errors_has_a_short_answer(tmp_path: Path) -> None:
    lines = fault(csv_file(tmp_path, "timestamp,temperature_c", *["x,1"] * 50)).splitlines()
    assert (len(lines), lines[-2:]) == (22, ["and 30 more", "Nothing was imported."])


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["time,temperature_c"], "FILE: there is no column timestamp; columns are"),
        (["timestamp,temp"], "FILE: there is no column temperature_c"),
        (["timestamp,temperature_c,humidity"], "FILE: the column 'humidity' is not known"),
        (["timestamp,temperature_c,timestamp"], "FILE: a column is named twice"),
        (["timestamp,temperature_c", "2026-01-15"], "FILE, line 2: 1 values, where the first line names 2"),
        ([""], "FILE: there is no column timestamp"),
    ],
)
def test_files_of_another_form(tmp_path: Path, lines: list[str], message: str) -> None:
    assert fault(csv_file(tmp_path, *lines)).startswith(message)


def test_a_region_stands_in_the_file_or_beside_it(tmp_path: Path) -> None:
    path = csv_file(tmp_path, "timestamp,temperature_c,region", "2026-01-15,7,north")
    assert fault(path, "south") == "FILE: it has a column region: leave out --region"


@pytest.mark.parametrize(
    ("name", "content"), [("a.parquet", b"no"), ("a.csv", b"\xff\xfe\x00"), ("b.csv", None)]
)
def test_what_is_no_such_file_is_an_error_of_one_line(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert "\n" not in fault(path)


def test_a_zone_does_not_hide_the_same_time(tmp_path: Path) -> None:
    zone = timezone(5 * HOUR)
    same = [MIDNIGHT.isoformat(), MIDNIGHT.astimezone(zone).isoformat()]
    path = csv_file(tmp_path, "timestamp,temperature_c", *(f"{text},1" for text in same))
    assert read_temperatures(path).rows() == [("", MIDNIGHT, 1.0)]
