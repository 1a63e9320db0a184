"""What PostgreSQL reads is what was written."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.storing.rows import COPY_OPTIONS, copy_data
from schemas.db.connections import connect

texts = st.none() | st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"]))
numbers = st.none() | st.floats(allow_nan=False, allow_infinity=False)
instants = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
written = st.lists(
    st.tuples(texts, numbers, instants, st.none() | st.booleans(), texts), min_size=1, max_size=20
)
AT = datetime(2024, 7, 10, 12, 0, 0, 250_000, UTC)


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg.Connection]:
    with connect(database_url, "tests") as connection:
        connection.execute(
            "CREATE TEMPORARY TABLE written"
            " (a text, b double precision, c timestamptz, d boolean, e text, batch_id bigint)"
        )
        yield connection


@given(written)
@example(
    [("]\x7f[", -0.0, AT, None, "],["), ("null", 1e-320, AT, True, "\\."), ("", 1.7e308, AT, False, "None")]
)
@example(
    [("\\N", 0.1, AT, None, '"'), ('"quoted"', None, AT, None, "\\"), ("a,b", None, AT, None, "ü\u2028€")]
)
def test_rows_come_back_as_they_were(connection: psycopg.Connection, written: list[tuple[Any, ...]]) -> None:
    connection.execute("TRUNCATE written")
    with connection.cursor().copy(f"COPY written FROM STDIN ({COPY_OPTIONS})".encode()) as copy:
        copy.write(copy_data(written, 17))
    found = connection.execute("SELECT * FROM written").fetchall()
    assert found == [(*row, 17) for row in written]
