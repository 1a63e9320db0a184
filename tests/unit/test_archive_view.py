"""Which batches may have late rows of a range."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from schemas.archive.folder import ArchiveFolder
from schemas.times.instants import microseconds
from serving.history.archive import ArchiveView

FIRST, SECOND = datetime(2024, 7, 4, tzinfo=UTC), datetime(2024, 7, 6, tzinfo=UTC)
NO_CONNECTION: Any = None
DAY, NOON = timedelta(days=1), timedelta(hours=12)


@pytest.mark.parametrize(
    ("start", "end", "batches", "since", "until"),
    [
        (None, None, [1, 2, 3], FIRST, SECOND + DAY),
        (None, FIRST + NOON, [1, 2], FIRST, FIRST + NOON),
        (FIRST + NOON, SECOND, [1, 2], FIRST + NOON, FIRST + DAY),
        (FIRST + NOON, SECOND + NOON, [1, 2, 3], FIRST + NOON, SECOND + NOON),
        (SECOND, None, [2, 3], SECOND, SECOND + DAY),
    ],
)
def test_late_rows_of_a_range_are_sought_in_batches_of_its_days(
    start: datetime | None, end: datetime | None, batches: list[int], since: datetime, until: datetime
) -> None:
    late = view().late_values(*(None if at is None else microseconds(at) for at in (start, end)))
    assert late == {"late_batches": batches, "late_since": since, "late_until": until}


@pytest.mark.parametrize(("start", "end"), [(None, FIRST), (FIRST + DAY, SECOND), (SECOND + DAY, None)])
def test_other_days_have_no_late_rows(start: datetime | None, end: datetime | None) -> None:
    assert view().late_values(*(None if at is None else microseconds(at) for at in (start, end))) is None


def view() -> ArchiveView:
    late = {date(2024, 7, 4): [2, 1], date(2024, 7, 6): [2, 3]}
    return ArchiveView(NO_CONNECTION, ArchiveFolder("file:///nowhere"), None, late)
