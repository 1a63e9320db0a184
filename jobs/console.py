"""Progress and findings of long commands, for the terminal."""

from collections.abc import Iterable
from datetime import datetime

import polars as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from jobs.storage.retention import Preview
from jobs.summaries.rebuild import Chunk
from schemas.times.time_ranges import TimeRange

MOST_LINES = 200


def followed(chunks: Iterable[Chunk], within: TimeRange, doing: str) -> list[pl.DataFrame]:
    """Let chunks be made, with a bar on stderr; returns the differences of each chunk that has any."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(doing, total=_seconds(within))
        found = []
        for chunk in chunks:
            progress.update(
                bar, advance=_seconds(chunk.within), description=f"{doing} {chunk.within.start:%F}"
            )
            if not chunk.differences.is_empty():
                found.append(chunk.differences)
    return found


def show_differences(found: list[pl.DataFrame]) -> None:
    """A table on stdout; of very many, the first."""
    if not found:
        return
    lines = pl.concat(found).unique(maintain_order=True)
    shown = Table(*lines.columns)
    for line in lines.head(MOST_LINES).iter_rows():
        shown.add_row(*("" if value is None else value for value in line))
    console = Console(soft_wrap=True)
    console.print(shown)
    if lines.height > MOST_LINES:
        console.print(f"... and {lines.height - MOST_LINES} more")


def show_previews(previews: Iterable[Preview]) -> None:
    """What retention would delete; the rows of a raw day as PostgreSQL last estimated them."""
    shown = Table("what", "before", "rows", "MB", "note")
    for line in previews:
        size = "" if line.bytes is None else f"{line.bytes / 1e6:,.1f}"
        shown.add_row(line.what, instant(line.before), f"{line.rows:,}", size, line.note)
    Console(soft_wrap=True).print(shown if shown.row_count else "Nothing would go.")


def instant(at: datetime) -> str:
    return f"{at:%FT%H:%MZ}"


def _seconds(within: TimeRange) -> float:
    return (within.end - within.start).total_seconds()
