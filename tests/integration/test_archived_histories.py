"""Histories of days that are dropped from PostgreSQL are those of before: raw rows come from the archive."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from falcon import testing
from sqlalchemy import Engine, func, select

from jobs.archive.writing import archive_next_day
from jobs.storage.retention import delete_raw_rows, drop_raw_days
from schemas.archive.folder import ArchiveFolder
from schemas.tables.raw import ven_telemetry
from serving.app import AppOptions, create_app
from serving.history import service
from tests.integration.house import EDGES, EVERYTHING, GRANULARITIES, NOW, SLOTTED, House, check_history
from tests.integration.published import batch_of, telemetry
from tests.oracle.compare import first_difference
from tests.oracle.messages import Setting, Window, random_traffic

DAY = timedelta(days=1)
BOUNDS = (EVERYTHING, *EDGES)
ASKED = [("sum", every) for every in GRANULARITIES] + [
    (aggregate, every) for aggregate in ("mean", "energy") for every in SLOTTED
]
BULK = ("/vens/history", "/loads/history")


@pytest.fixture
def folder(tmp_path: Path) -> ArchiveFolder:
    return ArchiveFolder((tmp_path / "archive").as_uri())


@pytest.fixture
def archived(house: House, folder: ArchiveFolder) -> House:
    """Random traffic of some days; the archive has those before the last, nothing is dropped yet."""
    house.client = testing.TestClient(
        create_app(house.engine, lambda: NOW, [], AppOptions(loads_gone_after=None, archive=folder))
    )
    house.ingest(random_traffic(11, 700, Setting(window=Window(outliers=False))))
    house.catch_up()
    archive(house.engine, folder)
    return house


def archive(engine: Engine, folder: ArchiveFolder) -> None:
    handled = 1
    while handled:
        with engine.begin() as connection:
            handled = archive_next_day(connection, NOW, folder=folder, after=timedelta(0))


def drop(engine: Engine, *, is_archived: bool = True) -> None:
    """Let retention take all raw rows before 2024-07-09."""
    assert raw_rows_before_the_9th(engine) > 0
    for step in (drop_raw_days, delete_raw_rows):
        with engine.begin() as connection:
            step(connection, NOW, {0: DAY}, is_archived=is_archived)
    assert raw_rows_before_the_9th(engine) == 0


def raw_rows_before_the_9th(engine: Engine) -> int:
    count = select(func.count()).where(ven_telemetry.c.ts < datetime(2024, 7, 9, tzinfo=UTC))
    with engine.connect() as connection:
        return connection.execute(count).scalar_one()


def answers(house: House) -> Iterator[tuple[str, Any]]:
    """Answers of routes that have many histories."""
    for (aggregate, every), (start, end), path in product(ASKED, BOUNDS, BULK):
        asked = {"granularity": every, "aggregate": aggregate}
        asked |= {name: at.isoformat() for name, at in (("start", start), ("end", end)) if at is not None}
        yield f"{path} {asked}", house.get(path, **asked)


@pytest.mark.parametrize(("aggregate", "every"), ASKED)
def test_every_history_is_what_the_plain_loop_says(archived: House, aggregate: str, every: str) -> None:
    drop(archived.engine)
    for bounds in BOUNDS:
        check_history(archived, bounds, every, aggregate)
    assert "warning" not in archived.get("/stats/network/history", granularity=every, aggregate=aggregate)


def test_many_histories_are_those_of_before(archived: House) -> None:
    before = list(answers(archived))
    drop(archived.engine)
    for (asked, expected), (_, found) in zip(before, answers(archived), strict=True):
        difference = first_difference(found, expected)
        assert difference is None, f"{asked}: {difference}"


def test_parts_of_a_long_history_read_the_archive(archived: House, monkeypatch: pytest.MonkeyPatch) -> None:
    drop(archived.engine)
    monkeypatch.setattr(service, "BUCKETS_AT_FIRST", 10)
    monkeypatch.setattr(service, "BUCKETS_AT_ONCE", 20)
    check_history(archived, EVERYTHING, "7s", "sum")


def test_late_rows_of_dropped_days_count_nowhere(archived: House, folder: ArchiveFolder) -> None:
    """Neither in PostgreSQL, nor in the archive, nor when they are pending."""
    drop(archived.engine)
    ven_id = min(archived.oracle.known_vens())
    late = telemetry(ven_id, NOW - 2 * DAY + timedelta(seconds=1.5), 1_000.0)
    before = archived.get(f"/vens/{ven_id}/history", granularity="7s")
    archived.store.write(batch_of(late))
    for step in (archived.catch_up, lambda: archive(archived.engine, folder), lambda: None):
        assert archived.get(f"/vens/{ven_id}/history", granularity="7s") == before
        step()


def test_days_from_before_the_archive_stay_coarse(house: House, folder: ArchiveFolder) -> None:
    house.client = testing.TestClient(
        create_app(house.engine, lambda: NOW, [], AppOptions(loads_gone_after=None, archive=folder))
    )
    house.ingest(random_traffic(11, 700, Setting(window=Window(outliers=False))))
    house.catch_up()
    drop(house.engine, is_archived=False)
    archive(house.engine, folder)
    answer = house.get("/stats/network/history", granularity="7s", start=(NOW - 3 * DAY).isoformat())
    assert "warning" not in answer  # seconds are kept
    of_ven = house.get(f"/vens/{min(house.oracle.known_vens())}/history", granularity="7s")
    assert "300 s" in of_ven["warning"]
