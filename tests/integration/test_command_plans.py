"""What looks for commands finds them by an index, however many were sent before."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from sqlalchemy import Executable
from sqlalchemy.dialects import postgresql

from ingest.storing import queries as ingest_queries
from jobs.queries.events import execution as execution_queries
from serving.commands import queries as serving_queries
from serving.page import Page
from serving.registry import queries as registry_queries
from tests.integration.published import NOW

FILL = """
INSERT INTO commands (ven_id, command_id, op, load_id, data, status, created_at, next_attempt_at, sent_at,
    acknowledged_at, executed_at, expires_at)
SELECT 'ven-' || n %% 500, 'c-' || n, 'shedLoad', 'l', '{"durationS": 900}', 'acknowledged',
    at, at, at, at, at, at
FROM generate_series(1, 20000) n, LATERAL (SELECT %(now)s - n * interval '1 minute' AS at) t;
INSERT INTO commands (ven_id, command_id, op, data, status, created_at, next_attempt_at, expires_at)
SELECT 'ven-' || n, 'open-' || n, 'ping', '{}', 'pending', %(now)s, %(now)s, %(now)s + interval '1 hour'
FROM generate_series(1, 50) n;
"""


@pytest.fixture(scope="module")
def full(module_database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(
        module_database_url, autocommit=True, cursor_factory=psycopg.ClientCursor, options="-c timezone=UTC"
    ) as connection:
        connection.execute(FILL.encode(), {"now": NOW})
        connection.execute("ANALYZE")
        yield connection


def scanned(connection: psycopg.Connection, statement: str, values: Any) -> set[str]:
    """The tables that are read from end to end."""
    scans = [node for node in planned(connection, statement, values) if node["Node Type"] == "Seq Scan"]
    return {str(node["Relation Name"]) for node in scans}


def planned(connection: psycopg.Connection, statement: str, values: Any) -> list[dict[str, Any]]:
    """Each node of the statement's plan."""
    [[plan]] = connection.execute(f"EXPLAIN (FORMAT json) {statement}".encode(), values).fetchall()
    return list(_walk(plan[0]["Plan"]))


def _walk(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in node.get("Plans", []):
        yield from _walk(child)


def compiled(statement: Executable) -> tuple[str, Any]:
    dialect = postgresql.dialect(paramstyle="pyformat")  # type: ignore[no-untyped-call]
    made: Any = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})  # type: ignore[attr-defined]
    return str(made), made.params


@pytest.mark.parametrize("over_at", [None, NOW])
def test_due_commands(over_at: Any, full: psycopg.Connection) -> None:
    values = {"now": NOW, "over_at": over_at, "holder": "h", "leased_until": NOW, "most": 1000}
    assert "commands" not in scanned(full, ingest_queries.TAKE_COMMANDS, values)


def test_answers(full: psycopg.Connection) -> None:
    values = {
        "ven_id": ["ven-1", "ven-2"],
        "command_id": ["open-1", "open-2"],
        "is_accepted": [True, False],
        "received_at": [NOW, NOW],
        "content": ["{}", "{}"],
    }
    assert "commands" not in scanned(full, ingest_queries.ANSWER_COMMANDS, values)
    assert "commands" not in scanned(full, ingest_queries.EXISTING_COMMANDS, values)


def test_raw_rows_are_looked_up_command_by_command(full: psycopg.Connection) -> None:
    """A merge join read all samples since the oldest command."""
    statement = execution_queries.loads_that_shed(NOW, NOW - timedelta(days=1))
    fill = "INSERT INTO ven_load_samples (ven_id, load_id, ts, batch_id) SELECT 'ven-' || n % 500, 'l', %s, n"
    with full.transaction(force_rollback=True):
        full.execute("UPDATE commands SET executed_at = NULL")
        full.execute(f"{fill} FROM generate_series(1, 500) n".replace("n % 5", "n %% 5").encode(), [NOW])
        full.execute("ANALYZE")
        for setting in execution_queries.ONLY_LOOPS:
            full.execute(setting.text.encode())
        names, scans = {"Hash Join", "Merge Join"}, planned(full, *compiled(statement))
        assert not [node for node in scans if node["Node Type"] in names]


@pytest.mark.parametrize(
    "statement",
    [
        serving_queries.command("c-7").bound(),
        serving_queries.commands_of_ven("ven-7", Page(20)).bound(),
        serving_queries.commands_of_ven("ven-7", Page(20, "c-7")).bound(),
        registry_queries.withdraw_commands("ven-7", "why"),
        execution_queries.loads_that_shed(NOW, NOW - timedelta(days=1)),
        execution_queries.panels_that_shed(NOW, NOW - timedelta(days=1)),
        execution_queries.loads_as_set(NOW + timedelta(seconds=1)),
    ],
    ids=["one", "of a ven", "a page", "withdraw", "shed", "panel", "set"],
)
def test_commands(statement: Executable, full: psycopg.Connection) -> None:
    assert "commands" not in scanned(full, *compiled(statement))


def test_a_scan_would_be_seen(full: psycopg.Connection) -> None:
    assert scanned(full, "SELECT * FROM commands WHERE attempts = 7", None) == {"commands"}
