"""Executes notebooks from the first cell to the last; as a program, it stores their outputs."""

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.conftest import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
WITHIN_S = 300


def executed(path: Path, database_url: str) -> NotebookNode:
    """Execute all cells of a notebook in a new kernel.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell fails; the message has its output.
    """
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    environment = {**os.environ, "DATABASE_URL": database_url, "PYTHONPATH": str(REPOSITORY)}
    where = {"metadata": {"path": str(path.parent)}}
    client = NotebookClient(
        notebook,
        timeout=WITHIN_S,
        kernel_name="python3",
        resources=where,
        record_timing=False,
    )
    client.execute(env=environment)
    return notebook


def cleaned(notebook: NotebookNode) -> NotebookNode:
    """Remove data of one machine or run: times, versions, random ids."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number:02d}", NotebookNode()
    return notebook


def texts(notebook: NotebookNode) -> list[tuple[str, list[str]]]:
    """Source and text outputs of each code cell; pictures depend on fonts, and are not compared."""
    code = (cell for cell in notebook.cells if cell.cell_type == "code")
    return [(cell.source, [_text(output) for output in cell.outputs]) for cell in code]


def _text(output: Any) -> str:
    output_text: str = output.text if output.output_type == "stream" else output.data.get("text/plain", "")
    return output_text


def keep(paths: list[Path], database_url: str) -> None:
    for path in paths:
        notebook = cleaned(executed(path, database_url))
        nbformat.validate(notebook)
        nbformat.write(notebook, path)
        print(f"{path.name}: {len(notebook.cells)} cells")


if __name__ == "__main__":
    keep([Path(word).resolve() for word in sys.argv[1:]] or NOTEBOOKS, os.environ["DATABASE_URL"])
