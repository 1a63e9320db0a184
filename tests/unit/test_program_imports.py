"""What the three programs import, and what not: it is memory of each process."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.thorough  # programs are started, and ended

REPOSITORY = Path(__file__).resolve().parents[2]
REPORT = """
import importlib, pkgutil, sys
program = importlib.import_module(sys.argv[1])
for each in pkgutil.walk_packages(program.__path__, f"{program.__name__}."):
    importlib.import_module(each.name)
print(*sys.modules)
"""


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        ("ingest", {"pandas", "pyarrow", "matplotlib"}),
        ("jobs", {"pandas", "pyarrow", "matplotlib"}),
        ("serving", {"pandas", "matplotlib"}),
    ],
)
def test_programs_do_not_import_what_only_people_need(program: str, unwanted: set[str]) -> None:
    """Pandera imports pandas wherever it is installed: ingest took 183 MB instead of 110."""
    assert imported(REPORT, program) & unwanted == set()


def test_pandas_stays_importable() -> None:
    """Also for Polars, which looks for it when it is imported."""
    pytest.importorskip("pandas")
    modules = imported("import schemas.tables, polars; polars.DataFrame({'a': [1]}).to_pandas()\n" + REPORT)
    assert "pandas" in modules


def imported(code: str, program: str = "schemas") -> set[str]:
    ended = subprocess.run(
        [sys.executable, "-c", code, program], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return set(ended.stdout.split())
