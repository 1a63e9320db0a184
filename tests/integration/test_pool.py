"""Short queries over few connections: first come, first served, also past dead connections."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from falcon import testing
from sqlalchemy import (
    Engine,
    Integer,
    Select,
    Text,
    bindparam,
    cast,
    false,
    func,
    literal,
    select,
)
from sqlalchemy.exc import TimeoutError  # noqa: A004 - as pools say it

from schemas.db.connections import connect, engine_for
from schemas.db.queries import Query
from serving.app import create_app
from serving.db.pool import ConnectionPool
from tests.integration.published import NOW, until, value
from tests.integration.test_http import assert_problem

BACKEND = Query(tuple, select(func.pg_backend_pid()))
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


@pytest.fixture
def lines(engine: Engine) -> ConnectionPool:
    return ConnectionPool.for_engine(engine)


@pytest.fixture
def admin(database_url: str) -> Iterator[psycopg.Connection]:
    with connect(database_url, "tests") as connection:
        yield connection


def backend(lines: ConnectionPool) -> int:
    [[pid]] = lines.rows(BACKEND)
    return int(pid)


def test_each_query_has_its_rows_and_its_values(lines: ConnectionPool) -> None:
    numbers = func.generate_series(1, bindparam("most", type_=Integer)).column_valued("n")
    statement: Select[Any] = select(numbers + literal(1), cast(numbers + literal(1), Text))
    nothing = statement.where(false())
    both, none = Query(tuple, statement, {"most": 2}), Query(tuple, nothing, {"most": 2})
    for _ in range(8):  # psycopg and PostgreSQL prepare it on the way
        assert lines.columns(both, none, both) == [[[2, 3], ["2", "3"]], [[], []], [[2, 3], ["2", "3"]]]
        assert lines.rows(both) == [(2, "2"), (3, "3")]
        assert lines.rows(none) == []


def test_a_connection_that_has_died_is_replaced(lines: ConnectionPool, admin: psycopg.Connection) -> None:
    for _ in range(2):
        first = backend(lines)
        admin.execute("SELECT pg_terminate_backend(%s::int, 10000)", [first])
        assert backend(lines) != first


def test_an_error_is_raised_once_and_the_connection_lives(lines: ConnectionPool) -> None:
    before = backend(lines)
    wrong = Query(tuple, select(literal(1) / literal(0)))
    for _ in range(2):
        with pytest.raises(psycopg.errors.DivisionByZero):
            lines.rows(wrong)
    assert backend(lines) == before


def test_who_comes_first_is_served_first(database_url: str, admin: psycopg.Connection) -> None:
    """One line; its first question waits for a lock, and four more for the line."""
    lines = ConnectionPool(lambda: connect(database_url, "lines"), size=1)
    admin.execute("SELECT pg_advisory_lock(1)")
    hold = Query(tuple, select(func.pg_advisory_xact_lock(1)))
    served: list[int] = []

    def ask(number: int) -> None:
        lines.rows(hold if number == 0 else BACKEND)
        served.append(number)

    with ThreadPoolExecutor(5) as pool:
        for number in range(5):
            pool.submit(ask, number)
            until(lambda: value(admin, WAITING) == 1)
            until(lambda expected=number: len(lines._waiting) == expected)  # type: ignore[misc]
        admin.execute("SELECT pg_advisory_unlock(1)")
    assert served == [0, 1, 2, 3, 4]
    lines.close()


def test_nobody_waits_for_ever(database_url: str, admin: psycopg.Connection) -> None:
    lines = ConnectionPool(lambda: connect(database_url, "lines"), size=1, wait_timeout_s=0.05)
    admin.execute("SELECT pg_advisory_lock(1)")
    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(lines.rows, Query(tuple, select(func.pg_advisory_xact_lock(1))))
        until(lambda: value(admin, WAITING) == 1)
        with pytest.raises(TimeoutError, match=r"no connection .* within 0\.05 s"):
            lines.rows(BACKEND)
        admin.execute("SELECT pg_advisory_unlock(1)")
        holding.result(20)
    assert backend(lines) > 0
    lines.close()


def test_no_more_connections_than_lines(database_url: str, admin: psycopg.Connection) -> None:
    lines = ConnectionPool(lambda: connect(database_url, "crowd"), size=2)
    start = threading.Barrier(8)

    def ask() -> int:
        start.wait(20)
        return backend(lines)

    with ThreadPoolExecutor(8) as pool:
        asked = {future.result() for future in [pool.submit(ask) for _ in range(8)]}
    assert 1 <= len(asked) <= 2
    lines.close()
    crowd = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'gridgate-crowd'"
    until(lambda: value(admin, crowd) == 0)


def test_they_close_with_the_engine(database_url: str, admin: psycopg.Connection) -> None:
    engine = engine_for(database_url, "tests")
    pid = backend(ConnectionPool.for_engine(engine))
    engine.dispose()
    until(lambda: value(admin, f"SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}") == 0)


def test_how_long_a_question_took_is_told(engine: Engine) -> None:
    told: list[float] = []
    ConnectionPool.for_engine(engine, told.append).rows(Query(tuple, select(func.pg_sleep(0.05))))
    assert len(told) == 1
    assert told[0] >= 0.05


@pytest.mark.parametrize("path", ["/api/vens/a", "/api/vens/a/history?start=2024-07-10&end=2024-07-11"])
def test_no_database_is_503(path: str) -> None:
    away = engine_for("postgresql://nobody@/nothing?host=/nonexistent", "tests")
    answer = testing.TestClient(create_app(away, lambda: NOW, [])).simulate_get(path)
    assert_problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0


NO_GENERIC_PLANS = """
CREATE FUNCTION planned(number int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN
    IF current_setting('plan_cache_mode') = 'force_generic_plan' THEN
        RAISE 'could not create distributed plan' USING ERRCODE = '0A000';
    END IF;
    RETURN number;
END $$
"""


def test_a_server_that_cannot_plan_without_the_values(
    lines: ConnectionPool, connection: psycopg.Connection
) -> None:
    """Citus cannot, for distributed tables: each history was a 503."""
    connection.execute(NO_GENERIC_PLANS.encode())
    refused = select(func.planned(bindparam("number", type_=Integer)))
    for number in (1, 2):
        assert lines.rows(Query(tuple, refused, {"number": number})) == [(number,)]
    mode = select(func.current_setting("plan_cache_mode"))
    assert lines.rows(Query(tuple, mode)) == [("auto",)]
