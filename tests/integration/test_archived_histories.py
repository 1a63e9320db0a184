"""Histories of days that are dropped from PostgreSQL are those of before: raw rows come from the archive."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from polars.testing import assert_frame_equal
from sqlalchemy import Engine, select, update
from sqlalchemy import delete as delete_from

from analysis.database_grid import DatabaseGrid
from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from jobs.archive.verifying import archived_range, rebuild_archived, verify_archived
from schemas.archive.folder import ArchiveFolder
from schemas.tables.history import load_history, network_history, ven_history
from schemas.tables.raw import ven_telemetry
from serving.history import service
from tests.integration.archived_days import archive, client_of, delete, drop
from tests.integration.published import telemetry
from tests.integration.whole_system import (
    EDGES,
    EVERYTHING,
    GRANULARITIES,
    MAX_AHEAD,
    NOW,
    SLOTTED,
    WholeSystem,
    check_history,
)
from tests.oracle.compare import first_difference
from tests.oracle.messages import Published, Setting, Window, random_traffic, traffic

DAY = timedelta(days=1)
Bounds = tuple[datetime | None, datetime | None]
BOUNDS: tuple[Bounds, ...] = (EVERYTHING, *EDGES)
ASKED = [("sum", every) for every in GRANULARITIES] + [
    (aggregate, every) for aggregate in ("mean", "energy") for every in SLOTTED
]
QUICK = {("sum", "7s"), ("sum", "5m"), ("mean", "15m"), ("energy", "1h")}
ROUTES: tuple[tuple[str, dict[str, str]], ...] = (
    ("/vens/history", {}),
    ("/vens/history", {"by": "group"}),
    ("/loads/history", {}),
    ("/loads/history", {"by": "type"}),
    ("/stats/network/history", {"group": "some"}),
)
TRAFFIC = Setting(window=Window(outliers=False))
BASE = random_traffic(11, 300, TRAFFIC)
LATE_WINDOW = Window(datetime(2024, 7, 8, 2, tzinfo=UTC), datetime(2024, 7, 8, 4, tzinfo=UTC), outliers=False)
TODAY = Window(datetime(2024, 7, 10, 6, tzinfo=UTC), datetime(2024, 7, 10, 8, tzinfo=UTC), outliers=False)
CUT: Bounds = (
    datetime(2024, 7, 8, 2, 31, 1, 500_000, tzinfo=UTC),
    datetime(2024, 7, 9, 1, 0, 0, 1, tzinfo=UTC),
)
LATE_ASKED = (
    ("sum", "7s", CUT),
    ("energy", "5m", CUT),
    ("sum", "15m", EVERYTHING),
    ("mean", "1h", EVERYTHING),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def folder(path: Path) -> ArchiveFolder:
    return ArchiveFolder(path.as_uri())


@pytest.fixture
def archived(system: WholeSystem, folder: ArchiveFolder) -> WholeSystem:
    """Random traffic of some days; the archive has those before the last, nothing is dropped yet."""
    system.client = client_of(system, folder)
    system.ingest(random_traffic(11, 700, TRAFFIC))
    system.catch_up()
    members = {"id": "some", "name": "Some", "venIds": sorted(system.oracle.known_vens())[:2]}
    assert system.client.simulate_post("/api/groups", json=members).status_code == 201
    archive(system.engine, folder)
    return system


def answers(
    system: WholeSystem, queried: Sequence[tuple[str, str]] = ASKED, bounds: Sequence[Bounds] = BOUNDS
) -> Iterator[tuple[str, Any]]:
    """Answers of routes that have many histories, or that of a group."""
    for (aggregate, every), (start, end), (path, of) in product(queried, bounds, ROUTES):
        asked = {"granularity": every, "aggregate": aggregate, **of}
        asked |= {name: at.isoformat() for name, at in (("start", start), ("end", end)) if at is not None}
        yield f"{path} {asked}", system.get(path, **asked)


@pytest.mark.parametrize(
    ("aggregate", "every"),
    [pytest.param(*each, marks=[] if each in QUICK else pytest.mark.thorough) for each in ASKED],
)
def test_every_history_is_what_the_plain_loop_says(archived: WholeSystem, aggregate: str, every: str) -> None:
    drop(archived.engine)
    for bounds in BOUNDS:
        check_history(archived, bounds, every, aggregate)
    assert "warning" not in archived.get("/stats/network/history", granularity=every, aggregate=aggregate)


@pytest.mark.thorough
def test_many_histories_are_those_of_before(archived: WholeSystem) -> None:
    before = list(answers(archived))
    drop(archived.engine)
    for (asked, expected), (_, found) in zip(before, answers(archived), strict=True):
        difference = first_difference(found, expected)
        assert difference is None, f"{asked}: {difference}"


def test_parts_of_a_long_history_read_the_archive(
    archived: WholeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop(archived.engine)
    monkeypatch.setattr(service, "BUCKETS_AT_FIRST", 10)
    monkeypatch.setattr(service, "BUCKETS_AT_ONCE", 20)
    check_history(archived, EVERYTHING, "7s", "sum")


def results(system: WholeSystem, folder_url: str) -> Iterator[tuple[str, pl.DataFrame]]:
    """Each kind of history of the analysis API, and the raw rows of the dropped days."""
    grid = DatabaseGrid(system.engine, lambda: NOW, archive_url=folder_url)
    ven_id, load_id = min(system.oracle.known_loads())
    entities: list[dict[str, Any]] = [{}, {"ven_id": ven_id}, {"ven_id": ven_id, "load_id": load_id}]
    for (aggregate, every), (start, end) in product(ASKED, BOUNDS):
        bounds: dict[str, Any] = {"start": start, "end": end, "aggregate": aggregate}
        asked = f"{every} {bounds}"
        for of in entities:
            yield f"history of {of} {asked}", grid.history(every, **bounds, **of)
        yield f"vens_history {asked}", grid.vens_history(every, **bounds)
    yield "telemetry", grid.raw.telemetry(end=NOW).collect().sort("ven_id", "ts")
    yield "samples", grid.raw.load_samples(end=NOW).collect().sort("ven_id", "load_id", "ts")
    yield "verify", grid.verify()


@pytest.mark.thorough
def test_analysis_says_what_it_said_before(archived: WholeSystem, path: Path) -> None:
    before = list(results(archived, path.as_uri()))
    drop(archived.engine)
    for (asked, expected), (_, found) in zip(before, results(archived, path.as_uri()), strict=True):
        assert_frame_equal(found, expected, check_row_order=False), asked


def late_traffic(system: WholeSystem) -> list[Published]:
    """Messages for the dropped days, whose archive some repeat and some contradict; and new VENs' ones."""
    start, end = (datetime(2024, 7, day, 18, tzinfo=UTC) for day in (7, 8))
    window = Window(start, end, outliers=False)
    again = random_traffic(11, 700, TRAFFIC)[::5]
    ven_id = min(system.oracle.known_vens())
    known = rows_of(system, ven_id)
    conflicts = [telemetry(ven_id, at, 1_000.0) for at in known[:6]]
    new = [telemetry(ven_id, at + timedelta(microseconds=7), 3.5) for at in known[:20]]
    return [
        *again,
        *random_traffic(101, 150, Setting(vens=6, window=window)),
        *(Published(each.topic, each.payload) for each in (*conflicts, *new)),
    ]


def rows_of(system: WholeSystem, ven_id: str) -> list[datetime]:
    reports = select(ven_telemetry.c.ts).where(ven_telemetry.c.ven_id == ven_id).order_by(ven_telemetry.c.ts)
    with system.engine.connect() as connection:
        return list(connection.execute(reports).scalars())


@pytest.mark.thorough
def test_late_rows_of_dropped_days_count_once(archived: WholeSystem, folder: ArchiveFolder) -> None:
    """New ones count at once, redeliveries and conflicts never; verify finds no difference."""
    late = late_traffic(archived)
    archived.ingest(random_traffic(3, 200, Setting(vens=6, window=TODAY)))  # so all loads are known
    archived.catch_up()
    drop(archived.engine)
    archived.ingest(late)
    check_single(archived)
    archived.catch_up()
    before = check_late(archived)
    for _ in range(2):  # also after retention has deleted them, and when all of it comes again
        archive(archived.engine, folder)
        archived.catch_up()
        assert_same_answers(check_late(archived), before)
        assert archived_differences(archived.engine, folder) == []
        delete(archived.engine)
        archived.store.write(Batch.of([Received(*each, NOW) for each in late], MAX_AHEAD))
        assert_same_answers(check_late(archived), before)


def check_late(
    system: WholeSystem, asked: Sequence[tuple[str, str, Bounds]] = LATE_ASKED
) -> list[tuple[str, Any]]:
    """Compare single histories with the plain loop's; return the answers of the other routes."""
    check_single(system, asked)
    return [
        answer
        for aggregate, every, bounds in asked
        for answer in answers(system, [(aggregate, every)], [bounds])
    ]


def check_single(system: WholeSystem, asked: Sequence[tuple[str, str, Bounds]] = LATE_ASKED) -> None:
    for aggregate, every, bounds in asked:
        check_history(system, bounds, every, aggregate)


def assert_same_answers(found: Sequence[tuple[str, Any]], expected: Sequence[tuple[str, Any]]) -> None:
    for (asked, answer), (_, other) in zip(found, expected, strict=True):
        difference = first_difference(answer, other)
        assert difference is None, f"{asked}: {difference}"


@pytest.mark.thorough
@given(late=traffic(3, 30, Setting(window=LATE_WINDOW), shrink_messages=False))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=4,
    phases=[Phase.reuse, Phase.generate],  # an attempt takes seconds
)
def test_late_rows_count_like_rows_that_came_in_time(
    system: WholeSystem, tmp_path_factory: pytest.TempPathFactory, late: list[Published]
) -> None:
    """Before and after they are merged; some repeat or contradict the archive, or one another."""
    system.empty()
    folder = ArchiveFolder(tmp_path_factory.mktemp("archive").as_uri())
    system.client = client_of(system, folder)
    system.ingest([*BASE, *late[: 2 * len(late) // 3]])
    system.catch_up()
    members = {"id": "some", "name": "Some", "venIds": ["ven-1"]}
    assert system.client.simulate_post("/api/groups", json=members).status_code == 201
    archive(system.engine, folder)
    drop(system.engine)
    system.ingest(late[len(late) // 3 :])
    check_single(system)
    system.catch_up()
    before = check_late(system)
    archive(system.engine, folder)
    assert_same_answers(check_late(system), before)


def test_a_late_row_counts_at_once(archived: WholeSystem, folder: ArchiveFolder) -> None:
    """It counted only once the job had added it to the archive, up to a minute later."""
    drop(archived.engine)
    ven_id, load_id = min(archived.oracle.known_loads())
    at = datetime(2024, 7, 8, 3, 7, 11, 250_000, tzinfo=UTC)
    new = telemetry(ven_id, at, 64.0, loads=[{"id": load_id, "type": "hvac", "currentPowerKw": 32.0}])
    archived.ingest([Published(new.topic, new.payload)])
    within = (at - timedelta(minutes=40), at + timedelta(seconds=20))
    asked = [("sum", "1s", within), ("sum", "15m", EVERYTHING), ("energy", "5m", within)]
    before = check_late(archived, asked)
    archive(archived.engine, folder)
    assert_same_answers(check_late(archived, asked), before)


def test_ids_of_any_kind_are_read_from_the_archive(system: WholeSystem, folder: ArchiveFolder) -> None:
    """Archived rows are arrays in text, in which quotes, commas and braces have a meaning."""
    system.client = client_of(system, folder)
    ven_id, at = 'q"uo\\te, {é}', datetime(2024, 7, 8, 3, 7, 11, 250_000, tzinfo=UTC)
    report = telemetry(ven_id, at, 1e-7, loads=[{"id": 'l"\\,}', "currentPowerKw": 0.3}])
    system.ingest([Published(report.topic, report.payload)])
    system.catch_up()
    archive(system.engine, folder)
    drop(system.engine)
    for aggregate, every in (("sum", "7s"), ("energy", "5m")):
        check_history(system, (at - timedelta(seconds=9), at), every, aggregate)
        assert system.get("/vens/history", granularity=every, aggregate=aggregate)


def test_the_job_alone_counts_late_rows_of_days_from_before_the_archive(
    system: WholeSystem, folder: ArchiveFolder
) -> None:
    """It is unknown which of their rows had been counted."""
    system.client = client_of(system, folder)
    system.ingest(random_traffic(11, 300, TRAFFIC))
    system.catch_up()
    drop(system.engine, is_archived=False)
    archive(system.engine, folder)
    ven_id = min(system.oracle.known_vens())
    asked = {"start": "2024-07-08T00:00:00Z", "granularity": "5m"}
    before = system.get(f"/vens/{ven_id}/history", **asked)
    late = telemetry(ven_id, datetime(2024, 7, 8, 3, tzinfo=UTC), 64.0)
    system.ingest([Published(late.topic, late.payload)])
    assert system.get(f"/vens/{ven_id}/history", **asked) == before


def archived_differences(engine: Engine, folder: ArchiveFolder) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        within = archived_range(connection, None, None)
    assert within is not None
    chunks = list(verify_archived(engine, folder, within))
    return [line for chunk in chunks for line in chunk.differences.rows()]


@pytest.mark.thorough
def test_the_summary_of_dropped_days_is_rebuilt_from_the_archive(
    archived: WholeSystem, folder: ArchiveFolder
) -> None:
    drop(archived.engine)
    before = list(answers(archived, [("sum", "7s"), ("energy", "5m")]))
    with archived.engine.begin() as connection:
        for table in (ven_history, load_history):
            connection.execute(delete_from(table).where(table.c.bucket < datetime(2024, 7, 8, tzinfo=UTC)))
        connection.execute(update(network_history).values(samples=network_history.c.samples + 1))
    assert archived_differences(archived.engine, folder) != []
    with archived.engine.connect() as connection:
        within = archived_range(connection, None, None)
    assert within is not None
    found = pl.concat([each.differences for each in rebuild_archived(archived.engine, folder, within)])
    assert set(found.get_column("table")) == {"ven_history", "load_history", "network_history"}
    archived.catch_up()
    assert archived_differences(archived.engine, folder) == []
    for (asked, expected), (_, answer) in zip(
        before, answers(archived, [("sum", "7s"), ("energy", "5m")]), strict=True
    ):
        difference = first_difference(answer, expected)
        assert difference is None, f"{asked}: {difference}"


def test_days_from_before_the_archive_stay_coarse(system: WholeSystem, folder: ArchiveFolder) -> None:
    system.client = client_of(system, folder)
    system.ingest(random_traffic(11, 700, TRAFFIC))
    system.catch_up()
    drop(system.engine, is_archived=False)
    archive(system.engine, folder)
    answer = system.get("/stats/network/history", granularity="7s", start=(NOW - 3 * DAY).isoformat())
    assert "warning" not in answer  # seconds are kept
    of_ven = system.get(f"/vens/{min(system.oracle.known_vens())}/history", granularity="7s")
    assert "300 s" in of_ven["warning"]
