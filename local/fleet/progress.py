"""Progress of the backfill: a bar on a terminal, a line now and then elsewhere."""

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from local.fleet.telemetry.messages import Message

_LINES = 5


def with_progress(messages: Iterable[Message], total: int, console: Console) -> Iterator[Message]:
    """The same messages; `total` is about how many."""
    return (
        _with_bar(messages, total, console) if console.is_terminal else _with_lines(messages, total, console)
    )


def _with_bar(messages: Iterable[Message], total: int, console: Console) -> Iterator[Message]:
    columns = (TextColumn("backfill"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("backfill", total=total)
        for message in messages:
            yield message
            progress.advance(task)
        completed = progress.tasks[0].completed
        progress.update(task, total=completed)


def _with_lines(messages: Iterable[Message], total: int, console: Console) -> Iterator[Message]:
    number = 0
    for number, message in enumerate(messages, 1):
        yield message
        if number % max(1, total // _LINES) == 0 and number < total:
            console.print(f"backfill: {number} of about {total} messages")
    console.print(f"backfill: {number} messages, done")
