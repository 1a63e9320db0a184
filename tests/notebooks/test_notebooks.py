"""Every notebook runs on the sample, from the first cell to the last, with its stored outputs."""

import json
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from tests.conftest import REPOSITORY
from tests.notebooks.execution import METADATA, NOTEBOOKS, executed, texts

pytestmark = pytest.mark.thorough

MACHINE_PATHS = ("/root", "/home/", "/var/", "/Users/", "/site-packages")
IDS = [path.stem for path in NOTEBOOKS]


@pytest.fixture(scope="module")
def sample_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The sample, loaded once, as an analyst loads it; notebooks only read it."""
    command = [sys.executable, "-m", "analysis.sample", "--data-dir", str(tmp_path_factory.mktemp("sample"))]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        [name, url] = process.stdout.readline().removeprefix("export ").strip().split("=", 1)
        assert name == "DATABASE_URL", "it says why on its standard error"
        [word] = shlex.split(url)
        yield word
        process.terminate()
        assert process.wait(60) == 0


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_a_notebook_says_what_is_kept_of_it(path: Path, sample_url: str) -> None:
    kept = nbformat.read(path, as_version=4)
    fresh = executed(path, sample_url)
    for (source, before), (_, now) in zip(texts(kept), texts(fresh), strict=True):
        assert now == before, f"{path.name} says something else; `make notebooks` keeps it:\n{source}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=IDS)
def test_what_is_kept_is_readable_and_of_no_one_machine(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    first, last = notebook.cells[0], notebook.cells[-1]
    assert first.source.startswith(f"# {path.name[:2]} ")
    assert "**" in first.source, "the question stands out"
    assert last.source.startswith("**Finding.** ")
    assert notebook.metadata == METADATA
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert not [output for output in outputs if output.output_type in {"error", "stream"}]
    words = json.dumps([{**output.get("data", {}), "image/png": None} for output in outputs])
    for word in (*MACHINE_PATHS, socket.gethostname()):
        assert word not in words


def test_the_index_names_each_notebook_with_its_finding() -> None:
    index = (REPOSITORY / "notebooks" / "README.md").read_text()
    for path in NOTEBOOKS:
        finding = nbformat.read(path, as_version=4).cells[-1].source.removeprefix("**Finding.** ")
        assert f"({path.name})" in index
        assert " ".join(finding.split()) in " ".join(index.split())
