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
    """Consume chunks with a progress bar on stderr; returns the differences of each chunk that has any."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task(doing, total=_seconds(within))
        differences = []
        for chunk in chunks:
            progress.update(
                bar, advance=_seconds(chunk.within), description=f"{doing} {chunk.within.start:%F}"
            )
            if not chunk.differences.is_empty():
                differences.append(chunk.differences)
    return differences


def show_differences(differences: list[pl.DataFrame]) -> None:
    """Print differences as a table on stdout, up to a limit."""
    if not differences:
        return
    lines = pl.concat(differences).unique(maintain_order=True)
    shown = Table(*lines.columns)
    for line in lines.head(MOST_LINES).iter_rows():
        shown.add_row(*("" if value is None else value for value in line))
    console = Console(soft_wrap=True)
    console.print(shown)
    if lines.height > MOST_LINES:
        console.print(f"... and {lines.height - MOST_LINES} more")


def show_previews(previews: Iterable[Preview]) -> None:
    """Print what retention would delete; rows of raw days are PostgreSQL's last estimate."""
    shown = Table("what", "before", "rows", "MB", "note")
    for line in previews:
        size = "" if line.bytes is None else f"{line.bytes / 1e6:,.1f}"
        shown.add_row(line.what, instant(line.before), f"{line.rows:,}", size, line.note)
    Console(soft_wrap=True).print(shown if shown.row_count else "Nothing would be deleted.")


def instant(at: datetime) -> str:
    return f"{at:%FT%H:%MZ}"


def _seconds(within: TimeRange) -> float:
    return (within.end - within.start).total_seconds()
