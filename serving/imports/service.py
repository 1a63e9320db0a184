"""Imports and exports of VENs: an import is one transaction, with a report of its changes."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, Engine

from schemas.api.ven_imports import VenImport
from serving.db.reading import in_blocks, snapshot
from serving.errors import InvalidRequestError
from serving.imports import queries, ven_csv
from serving.imports.queries import RegisteredVen
from serving.imports.ven_csv import MOST_PROBLEMS, VenFile, VenFileRow
from serving.registry import queries as registry

AT_ONCE = 1_000
"""Most rows that one statement compares or writes."""

NAMED_IN_ERROR = 10

Progress = Callable[[int, int], None]
"""Called with the number of processed rows, and of all rows."""


def _in_silence(_done: int, _rows: int) -> None:
    """Report no progress."""


class VenImports:
    """Writes a file to the registry in one transaction: if a line is wrong, nothing is written."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def run(self, text: str, *, dry_run: bool, progress: Progress = _in_silence) -> VenImport:
        """Register, change and restore VENs by a file. Idempotent.

        With `dry_run` nothing is written, and wrong lines are in the report.

        Raises:
            InvalidRequestError: lines are wrong, and it is not a dry run.
        """
        file = ven_csv.read(text)
        if file.problems and not dry_run:
            raise InvalidRequestError(_named(file))
        counts = Counter[str]()
        with self._engine.begin() as connection:
            ordered = sorted(file.rows, key=_id_of)
            for first in range(0, len(ordered), AT_ONCE):
                part = ordered[first : first + AT_ONCE]
                counts += self._write(connection, file.columns, part, dry_run=dry_run)
                progress(first + len(part), len(ordered))
            if not dry_run:
                connection.execute(registry.NOTIFY_TOTALS)
        return _report(file, counts, dry_run=dry_run)

    def export(self) -> Iterator[str]:
        """Yield the registered VENs as lines of a file; the iterator holds a connection until it ends."""
        with snapshot(self._engine) as connection:
            rows = in_blocks(connection, queries.all_vens())
            yield from ven_csv.lines(row._asdict() for row in rows)

    def _write(
        self, connection: Connection, columns: Sequence[str], rows: Sequence[VenFileRow], *, dry_run: bool
    ) -> Counter[str]:
        query = queries.some_vens([row.ven_id for row in rows], locked=not dry_run)
        present = {ven.ven_id: ven for ven in query.all(connection)}
        outcomes = {row.ven_id: outcome(row, present.get(row.ven_id)) for row in rows}
        changed = [row for row in rows if outcomes[row.ven_id] != "unchanged"]
        if changed and not dry_run:
            created_at = self._clock().isoformat()
            values = [{"ven_id": row.ven_id, "created_at": created_at, **row.values} for row in changed]
            connection.execute(queries.write_vens(columns), {"rows": values})
        return Counter(outcomes.values())


def outcome(row: VenFileRow, ven: RegisteredVen | None) -> str:
    """Return the effect of a row on the existing VEN, if any."""
    if ven is None:
        return "created"
    if ven.retired_at is not None:
        return "restored"
    return "unchanged" if _is_same(row.values, ven._asdict()) else "changed"


def _is_same(values: Mapping[str, object], present: Mapping[str, object]) -> bool:
    return all(present[name] == value for name, value in values.items())


def _id_of(row: VenFileRow) -> bytes:
    """Return the id in the database's order."""
    return row.ven_id.encode()


def _named(file: VenFile) -> str:
    named = [f"line {each.line}: {each.field} {each.detail}" for each in file.problems[:NAMED_IN_ERROR]]
    more = len(file.problems) - len(named)
    end = f" And {more} more: dryRun=1 lists them." if more else ""
    return f"Nothing was imported, as lines are wrong. {'; '.join(named)}.{end}"


def _report(file: VenFile, counts: Counter[str], *, dry_run: bool) -> VenImport:
    return VenImport(
        dry_run=dry_run,
        rows=len(file.rows),
        created=counts["created"],
        restored=counts["restored"],
        changed=counts["changed"],
        unchanged=counts["unchanged"],
        problem_count=len(file.problems),
        problems=list(file.problems[:MOST_PROBLEMS]),
    )
