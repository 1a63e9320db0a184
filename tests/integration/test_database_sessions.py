"""The parameters of a session: our defaults, overridden by those of `DATABASE_URL`."""

from datetime import UTC, datetime, timedelta
from typing import Any, Unpack

import psycopg
import pytest
from sqlalchemy import Engine, text

from schemas.db.connections import Bounds, connect, engine_for

SHOWN = (
    "TimeZone",
    "application_name",
    "search_path",
    "lock_timeout",
    "statement_timeout",
    "idle_in_transaction_session_timeout",
)


def shown(connection: psycopg.Connection[Any]) -> dict[str, str]:
    rows = (connection.execute(f"SHOW {name}").fetchone() for name in SHOWN)
    return {name: row[0] for name, row in zip(SHOWN, rows, strict=True) if row}


def by_engine(engine: Engine) -> dict[str, str]:
    with engine.connect() as connection:
        return {name: connection.execute(text(f"SHOW {name}")).scalar_one() for name in SHOWN}


@pytest.fixture(params=["connect", "engine"])
def session(request: pytest.FixtureRequest) -> Any:
    """What the server shows to a session that is opened with a URL, by either way."""

    def open_and_show(url: str, **more: Unpack[Bounds]) -> dict[str, str]:
        if request.param == "connect":
            with connect(url, "tests", **more) as connection:
                return shown(connection)
        engine = engine_for(url, "tests", **more)
        try:
            return by_engine(engine)
        finally:
            engine.dispose()

    return open_and_show


def with_parameters(url: str, parameters: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{parameters}"


def test_every_session_is_bounded(session: Any, database_url: str) -> None:
    assert session(database_url) == {
        "TimeZone": "UTC",
        "application_name": "gridgate-tests",
        "search_path": '"$user", public',
        "lock_timeout": "5s",
        "statement_timeout": "1min",
        "idle_in_transaction_session_timeout": "10s",
    }
    assert session(database_url, lock_timeout="3s")["lock_timeout"] == "3s"


def test_the_url_counts_where_it_speaks(session: Any, database_url: str) -> None:
    """It was overwritten in silence: a schema of one's own became `public`."""
    options = "-csearch_path%3Dgridgate,public%20-c%20lock_timeout%3D7s%20-ctimezone%3DAsia/Tokyo"
    url = with_parameters(database_url, f"options={options}&application_name=mine")
    told = session(url, lock_timeout="3s")
    assert told["search_path"] == "gridgate,public"
    assert told["lock_timeout"] == "7s"
    assert told["application_name"] == "mine"
    assert told["statement_timeout"] == "1min"
    assert told["TimeZone"] == "UTC"


def test_the_environment_of_libpq_counts_too(
    session: Any, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGOPTIONS", "-c search_path=other")
    monkeypatch.setenv("PGAPPNAME", "theirs")
    told = session(database_url)
    assert (told["search_path"], told["application_name"]) == ("other", "theirs")


SETTINGS = {
    "timezone": "Europe/Berlin",
    "datestyle": "German, DMY",
    "intervalstyle": "sql_standard",
    "extra_float_digits": "-5",
    "standard_conforming_strings": "off",
    "default_transaction_isolation": "serializable",
    "client_encoding": "LATIN1",
}
"""What a database that others share may have been given."""

VALUES = "SELECT '2026-11-27 23:30Z'::timestamptz, '36 h'::interval, 0.1 + 0.2::float8, $$\\n €$$"


@pytest.mark.parametrize("by_environment", [False, True])
def test_what_the_code_depends_on_is_ours(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, *, by_environment: bool
) -> None:
    """A database with `datestyle = German` stopped every program; with PGTZ, days began at another hour."""
    with psycopg.connect(empty_database_url, autocommit=True) as admin:
        for name, value in SETTINGS.items():
            admin.execute(f"ALTER DATABASE {admin.info.dbname} SET {name} = '{value}'".encode())
    if by_environment:
        monkeypatch.setenv("PGTZ", "America/New_York")
        monkeypatch.setenv("PGDATESTYLE", "SQL")
        monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    expected = (datetime(2026, 11, 27, 23, 30, tzinfo=UTC), timedelta(hours=36), 0.1 + 0.2, "\\n €")
    engine = engine_for(empty_database_url, "tests")
    with connect(empty_database_url, "tests") as connection, engine.connect() as ours:
        assert connection.execute(VALUES).fetchone() == expected
        assert connection.execute("SHOW transaction_isolation").fetchone() == ("read committed",)
        assert ours.exec_driver_sql(VALUES).one() == expected
        ours.rollback()
        assert ours.execute(text("SHOW TimeZone")).scalar_one() == "UTC"
    engine.dispose()


@pytest.mark.parametrize(("spoken", "counts"), [("", "15000"), ("tcp_user_timeout=7000", "7000")])
def test_libpq_is_told_what_the_url_leaves_open(database_url: str, spoken: str, counts: str) -> None:
    with connect(with_parameters(database_url, spoken), "tests") as connection:
        parameters = connection.info.get_parameters()
    assert parameters["tcp_user_timeout"] == counts
    assert parameters["connect_timeout"] == "5"
