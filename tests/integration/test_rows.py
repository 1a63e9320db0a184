"""What PostgreSQL reads is what was written."""

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.storing.binary import (
    COPY_OPTIONS,
    LOAD_ENTRY,
    Kind,
    boolean,
    copy_data,
    double,
    instant,
    integer,
    load_entry_data,
    text,
)
from ingest.storing.queries import DESCRIPTIONS, SAMPLES, STATUSES, TELEMETRY, Keyed
from ingest.storing.rows import Row
from schemas.db.connections import connect

texts = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]))
numbers = st.floats(allow_nan=False, allow_infinity=False)
zones = st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])
instants = st.datetimes(datetime(1999, 12, 31), datetime(2100, 1, 1), timezones=zones)  # noqa: DTZ001
integers = st.integers(-(2**31), 2**31 - 1)
few_texts = st.sampled_from(["hvac", "ev", "", "null"])
values = (texts, numbers, instants, st.booleans(), integers)
written = st.lists(st.tuples(*(st.none() | each for each in values)), min_size=1, max_size=20)
load_entries = st.lists(
    st.tuples(
        few_texts,
        instants,
        few_texts,
        st.none() | few_texts,
        st.none() | texts,
        *[st.none() | numbers] * 4,
        st.none() | st.booleans(),
        st.none() | integers,
        st.none() | st.sampled_from(['{"a": 1}', "{}"]),
    ),
    min_size=1,
    max_size=20,
)
AT = datetime(2024, 7, 10, 12, 0, 0, 250_000, UTC)
KINDS: dict[str, Kind] = {
    "text": text,
    "double precision": double,
    "timestamp with time zone": instant,
    "boolean": boolean,
    "integer": integer,
}


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with connect(database_url, "tests") as connection:
        columns = ", ".join(f'"{kind}" {kind}' for kind in KINDS)
        connection.execute(f"CREATE TEMPORARY TABLE written (batch_id bigint, {columns})".encode())
        yield connection


@given(written)
@example([("]\x7f[", -0.0, AT, None, 0), ("null", 1e-320, AT, True, -1), ("", 1.7e308, AT, False, 2**31 - 1)])
@example(
    [("\\N", 0.1, AT, None, 1), ('"quoted"', None, None, None, None), ("a,\nb\tü\u2028€", 0, AT, None, 0)]
)
def test_rows_come_back_as_they_were(connection: psycopg.Connection, written: list[Row]) -> None:
    connection.execute("TRUNCATE written")
    with connection.cursor().copy(f"COPY written FROM STDIN ({COPY_OPTIONS})".encode()) as copy:
        copy.write(copy_data(list(KINDS.values()), written, 17))
    assert connection.execute("SELECT * FROM written").fetchall() == [(17, *row) for row in written]


@given(load_entries)
def test_load_entries_are_encoded_as_other_rows_are(entries: list[Row]) -> None:
    assert load_entry_data(entries, 17) == copy_data(LOAD_ENTRY, entries, 17)


def test_zero_has_one_sign(connection: psycopg.Connection) -> None:
    """Otherwise it would depend on the other rows of the batch which of two equal numbers is stored."""
    rows: list[Row] = [(None, number, None, None, None) for number in (-0.0, 0.0)]
    with connection.cursor().copy(f"COPY written FROM STDIN ({COPY_OPTIONS})".encode()) as copy:
        copy.write(copy_data(list(KINDS.values()), rows, 17))
    signs = [math.copysign(1, x) for [x] in connection.execute('SELECT "double precision" FROM written')]
    assert signs == [1, 1]


@pytest.mark.parametrize("keyed", [TELEMETRY, STATUSES, DESCRIPTIONS, SAMPLES], ids=lambda keyed: keyed.table)
def test_each_column_is_encoded_by_its_type(connection: psycopg.Connection, keyed: Keyed) -> None:
    examples = {
        "text": "word",
        "double precision": 1.5,
        "timestamp with time zone": AT,
        "boolean": True,
        "integer": 7,
        "json": '{"a": 1}',
    }
    columns = (*keyed.key, *keyed.columns)
    types: dict[str, str] = dict(
        connection.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s",
            [keyed.table],
        ).fetchall()
    )
    connection.execute(keyed.create_staging())
    with connection.transaction():
        with connection.cursor().copy(keyed.copy_staged()) as copy:
            copy.write(keyed.encode([tuple(examples[types[column]] for column in columns)], 17))
        for column in columns:
            [stored] = connection.execute(
                f"SELECT {column}::text FROM staged_{keyed.table}".encode()
            ).fetchone() or [None]
            [expected] = connection.execute(
                f"SELECT (%s::{types[column]})::text".encode(), [examples[types[column]]]
            ).fetchone() or [None]
            assert stored == expected, column
