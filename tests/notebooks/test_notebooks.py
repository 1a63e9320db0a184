"""Every notebook runs on the sample, from the first cell to the last, and says what is kept of it."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import nbformat
import psycopg
import pytest

from analysis.sample.loading import Loader
from local.postgres import EmbeddedPostgres
from tests.conftest import REPOSITORY, TEMPLATE
from tests.notebooks.execution import METADATA, NOTEBOOKS, executed, texts

SAMPLE = "sample"
MACHINE_PATHS = ("/root", "/home/", "/var/", "/Users/", "/site-packages")
IDS = [path.stem for path in NOTEBOOKS]


@pytest.fixture(scope="module")
def sample_url(postgres: EmbeddedPostgres) -> Iterator[str]:
    """The sample, loaded once; notebooks only read it."""
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{SAMPLE}" TEMPLATE "{TEMPLATE}" STRATEGY FILE_COPY')
        Loader(postgres.url(SAMPLE)).load(lambda _moment: None)
        yield postgres.url(SAMPLE)
        admin.execute(f'DROP DATABASE "{SAMPLE}" WITH (FORCE)')


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
