"""No program speaks to the database in psycopg's pipeline mode, nor by `executemany`, which uses it.

psycopg ends a pipeline with a Flush after the Sync, at which PostgreSQL stops the timer of
`idle_in_transaction_session_timeout`: a client that is lost then keeps its locks for ever.
"""

import ast
from pathlib import Path

import pytest

from local.environment import REPOSITORY

FORBIDDEN = {"executemany", "pipeline"}


def _calls(file: Path) -> set[str]:
    tree = ast.parse(file.read_text())
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return {function.attr for function in calls if isinstance(function, ast.Attribute)}


@pytest.mark.parametrize("room", ["ingest", "jobs", "serving", "schemas"])
def test_no_pipelines(room: str) -> None:
    files = list((REPOSITORY / room).rglob("*.py"))
    assert len(files) > 10
    assert {str(file): _calls(file) & FORBIDDEN for file in files if _calls(file) & FORBIDDEN} == {}
