"""Settlements of events whose day, or whose baselines' days, the archive has and PostgreSQL has dropped."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import polars as pl
import psycopg
import pytest
from polars.testing import assert_frame_equal
from sqlalchemy import Connection, Engine, func, select

from ingest.decoding.messages import Received
from ingest.storing.store import Store
from jobs.events.measuring import measurements
from jobs.events.records import DatabaseRecords, MeasuredEvent
from jobs.queries.events import settlement as settlement_queries
from jobs.running.runner import Runner
from jobs.settings import Cadence
from jobs.storage.retention import drop_raw_days
from schemas.archive.folder import ArchiveFolder
from schemas.demand_response.baselines import GENERIC
from schemas.tables.raw import ven_telemetry
from tests.integration.archived_days import archive
from tests.integration.published import rows
from tests.integration.test_settlement import (
    DAY,
    END,
    HOUR,
    LANES,
    SETTLED_AT,
    jobs,
    make_event,
    publish,
    report,
    sixteen_days,
    take_part,
)

CUT_START, CUT_END = END + timedelta(minutes=4), END + timedelta(minutes=13)
"""An event that begins and ends amid slots: raw samples count."""

NOW = END + 4 * DAY
"""The event's day and all days before are archived and dropped by then."""


@pytest.fixture
def folder(tmp_path: Path) -> ArchiveFolder:
    return ArchiveFolder((tmp_path / "archive").as_uri())


def archive_and_drop(engine: Engine, folder: ArchiveFolder) -> None:
    archive(engine, folder, NOW)
    dropped = 1
    while dropped:
        with engine.begin() as dropping:
            dropped = drop_raw_days(dropping, NOW, {0: DAY}, is_archived=True)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(ven_telemetry)).scalar_one() == 0


def cut_event(store: Store, engine: Engine, *ven_ids: str) -> None:
    for ven_id in ven_ids:
        sixteen_days(store, ven_id, used_kw=3.0, shed_kw=0.0)
        minutes = [END + timedelta(minutes=n) for n in range(15)]
        publish(store, [report(ven_id, at, 3.0 if at < CUT_START else 1.0, at) for at in minutes])
    make_event(engine, start_time=CUT_START, started_at=CUT_START, end_time=CUT_END, ended_at=CUT_END)
    take_part(engine, *ven_ids)


@pytest.mark.thorough
def test_an_event_of_an_archived_day_is_measured_as_before(
    store: Store, engine: Engine, folder: ArchiveFolder
) -> None:
    """Its slots are cut, so that samples of the archive count; and all its other days are dropped, too."""
    cut_event(store, engine, "a")
    Runner(engine, lambda: SETTLED_AT).catch_up(LANES)
    with engine.connect() as before:
        expected = measured_vens(DatabaseRecords(before), event_of(before))
    archive_and_drop(engine, folder)
    with engine.connect() as after:
        event = event_of(after)
        found = measured_vens(DatabaseRecords(after, folder), event)
        coarse = measured_vens(DatabaseRecords(after), event)
    assert found.height == len(GENERIC)
    assert_frame_equal(found, expected)
    assert not found.equals(coarse)


def measured_vens(records: DatabaseRecords, event: MeasuredEvent) -> pl.DataFrame:
    return pl.concat([part.vens for part in measurements(records, event, Cadence().rules())])


def event_of(connection: Connection) -> MeasuredEvent:
    return MeasuredEvent.of(settlement_queries.ended_event("e").one(connection))


@pytest.mark.thorough
def test_late_rows_of_archived_days_lead_to_a_revision_however_late_the_archive_is(
    store: Store, engine: Engine, connection: psycopg.Connection, folder: ArchiveFolder, tmp_path: Path
) -> None:
    """Two homes reported the same; what came late of one home counts as what came in time of the other.

    The archive has the late rows longer after they were received than settlements look back for batches.
    """
    cut_event(store, engine, "in-time", "late")
    publish(store, list(extra("in-time")))
    clock = [SETTLED_AT + HOUR]
    runner = Runner(engine, lambda: clock[0])
    with_archive = jobs(archive_url=(tmp_path / "archive").as_uri())
    [settlement] = (job for job in with_archive if job.name == "settlement")
    runner.catch_up(LANES)
    assert runner.run(settlement) == 1
    archive_and_drop(engine, folder)
    clock[0] = NOW
    publish(store, list(extra("late", NOW)))
    runner.catch_up(LANES)
    for _ in range(6):  # looks at it every ten minutes while the archive is away
        clock[0] += timedelta(minutes=11)
        assert runner.run(settlement) == 0
    assert not settled(connection, "late").equals(settled(connection, "in-time"))
    archive(engine, folder, clock[0])
    runner.catch_up(LANES)
    clock[0] += timedelta(minutes=11)
    assert runner.run(settlement) == 1
    assert_frame_equal(settled(connection, "late"), settled(connection, "in-time"))
    clock[0] += timedelta(minutes=11)
    assert runner.run(settlement) == 0


def extra(ven_id: str, received_at: datetime | None = None) -> Iterator[Received]:
    """Further reports of the event's day and of earlier ones: new ones, redeliveries, and conflicts."""
    random = Random(5)
    for back in range(12):
        for _ in range(12):
            at = CUT_START - back * DAY + timedelta(seconds=random.randrange(-7200, 540))
            yield report(ven_id, at, random.uniform(0, 9), received_at or at)
        known = END - back * DAY - timedelta(minutes=5 * random.randrange(1, 30))
        yield report(ven_id, known, 3.0, received_at or known)
        yield report(ven_id, known - HOUR, 70.0, received_at or known)


def settled(connection: psycopg.Connection, ven_id: str) -> pl.DataFrame:
    """The newest figures of a home."""
    newest = rows(
        connection,
        "SELECT baseline, baseline_kw, actual_kw, delivered_kw, delivered_kwh, coverage_percent, days_used"
        " FROM ven_settlements JOIN (SELECT max(revision) AS revision FROM ven_settlements) AS newest"
        f" USING (revision) WHERE ven_id = '{ven_id}' ORDER BY baseline",
    )
    return pl.DataFrame(newest, orient="row")
