"""Late rows of days that PostgreSQL has dropped: everything answers as if they had come in time."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from falcon import testing
from hypothesis import HealthCheck, Phase, given, settings

from analysis.raw_tables import RawTables
from ingest.decoding.messages import Received
from schemas.archive.folder import ArchiveFolder
from tests.integration.archived_days import archive, client_of, drop
from tests.integration.published import description, telemetry
from tests.integration.whole_system import EDGES, EVERYTHING, WholeSystem, check_each, check_latest
from tests.oracle.compare import first_difference
from tests.oracle.messages import Published, Setting, Window, random_traffic, traffic

BASE = random_traffic(11, 300, Setting(window=Window(outliers=False)))
LATE_WINDOW = Window(datetime(2024, 7, 8, 2, tzinfo=UTC), datetime(2024, 7, 8, 4, tzinfo=UTC), outliers=False)
WITHIN_DROPPED = (datetime(2024, 7, 8, 2, 31, 1, 500_000, tzinfo=UTC), datetime(2024, 7, 8, 3, tzinfo=UTC))
SILENT_SINCE = datetime(2024, 7, 8, 1, tzinfo=UTC)
RANGES = (EVERYTHING, WITHIN_DROPPED, *EDGES)
QUESTIONS = (*((bounds, 1_000) for bounds in RANGES), (EVERYTHING, 3), (WITHIN_DROPPED, 3))
"""Ranges and limits of samples."""

OF_ARRIVAL = ("batch_id", "received_at")
"""Columns that say when a row arrived."""

OF_SAMPLE = ("timestamp", "loadId", "currentPowerKw")


@pytest.mark.thorough
@given(late=traffic(3, 30, Setting(window=LATE_WINDOW), shrink_messages=False))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    max_examples=3,
    phases=[Phase.reuse, Phase.generate],  # an attempt takes seconds
)
def test_raw_frames_and_samples_have_late_rows_like_any_others(
    system: WholeSystem, tmp_path_factory: pytest.TempPathFactory, late: list[Published]
) -> None:
    """Before and after the archive has them; some repeat or contradict it, or one another."""
    first, second = [*BASE, *late[: 2 * len(late) // 3]], late[len(late) // 3 :]
    system.empty()
    system.ingest(first)
    system.ingest(second)
    system.catch_up()
    hot_frames, hot_samples, hot_powers = list(frames(system, None)), samples(system), powers(system)
    system.empty()
    url = tmp_path_factory.mktemp("archive").as_uri()
    system.client = client_of(system, ArchiveFolder(url))
    system.ingest(first)
    system.catch_up()
    archive(system.engine, ArchiveFolder(url))
    drop(system.engine)
    system.ingest(second)
    assert_same_frames(frames(system, url), hot_frames)
    assert_same_samples(powers(system), hot_powers)
    archive(system.engine, ArchiveFolder(url))
    system.catch_up()
    assert_same_frames(frames(system, url), hot_frames)
    assert_same_samples(samples(system), hot_samples)
    check_latest(system)


def frames(system: WholeSystem, archive_url: str | None) -> Iterator[tuple[str, pl.DataFrame]]:
    """Return raw rows in several ranges, sorted by their keys."""
    raw = RawTables(system.engine, "UTC", archive_url)
    for start, end in RANGES:
        yield "telemetry", raw.telemetry(start, end).drop(OF_ARRIVAL).collect().sort("ven_id", "ts")
        for read in (raw.load_samples, raw.load_descriptions):
            rows = read(start, end).drop("batch_id").collect().sort("ven_id", "load_id", "ts")
            yield f"{read.__name__} in {start} to {end}", rows


def assert_same_frames(
    found: Iterator[tuple[str, pl.DataFrame]], expected: list[tuple[str, pl.DataFrame]]
) -> None:
    for (what, frame), (_, other) in zip(found, expected, strict=True):
        assert frame.equals(other), what


def powers(system: WholeSystem) -> list[tuple[str, Any]]:
    """Return the samples of each VEN, without fields that may be the load's latest ones."""
    return [
        (asked, [answer["totalCount"], [[one[name] for name in OF_SAMPLE] for one in answer["snapshots"]]])
        for asked, answer in samples(system, [])
    ]


def samples(
    system: WholeSystem, known_loads: Iterable[tuple[str, str]] | None = None
) -> list[tuple[str, Any]]:
    """Return the samples of all loads of each VEN, and of each load."""
    of_loads = system.oracle.known_loads() if known_loads is None else known_loads
    vens: list[tuple[str, dict[str, str]]] = [(ven_id, {}) for ven_id in sorted(system.oracle.known_vens())]
    loads = [(ven_id, {"load_id": load_id}) for ven_id, load_id in sorted(of_loads)]
    return [
        (f"{ven_id} {asked}", circuits(system.client, ven_id, {**of, **asked}))
        for (ven_id, of), asked in product([*vens, *loads], questions())
    ]


def questions() -> Iterator[dict[str, str]]:
    for (start, end), limit in QUESTIONS:
        bounds = {name: at.isoformat() for name, at in (("start", start), ("end", end)) if at is not None}
        yield {**bounds, "limit": f"{limit}"}


def circuits(client: testing.TestClient, ven_id: str, asked: dict[str, str]) -> Any:
    answer = client.simulate_get(f"/api/vens/{ven_id}/circuits/history", params=asked)
    assert answer.status_code == 200, answer.text
    return answer.json


def assert_same_samples(found: list[tuple[str, Any]], expected: list[tuple[str, Any]]) -> None:
    for (asked, answer), (_, other) in zip(found, expected, strict=True):
        difference = first_difference(answer, other)
        assert difference is None, f"{asked}: {difference}"


@pytest.fixture
def silent(system: WholeSystem, tmp_path: Path) -> ArchiveFolder:
    """A VEN that has been silent since a day that is archived and dropped; its last report had no usage."""
    folder = ArchiveFolder(tmp_path.as_uri())
    system.client = client_of(system, folder)
    report = telemetry("silent", SILENT_SINCE, None, loads=[{"id": "heater", "currentPowerKw": 1.0}])
    system.ingest([*BASE, *published(report)])
    system.catch_up()
    archive(system.engine, folder)
    drop(system.engine)
    return folder


def test_a_late_conflict_never_sets_latest_values(system: WholeSystem, silent: ArchiveFolder) -> None:
    """Nor does it make a load known that no accepted message names."""
    loads = [{"id": "ghost", "currentPowerKw": 9.0}, {"id": "heater", "capacityKw": 9.0}]
    system.ingest(published(telemetry("silent", SILENT_SINCE, 9.0, loads=loads)))
    for step in (system.catch_up, partial(archive, system.engine, silent), system.catch_up):
        check_each(system)
        step()
    check_latest(system)
    assert system.client.simulate_get("/api/vens/silent/loads/ghost").status_code == 404


def test_new_late_rows_set_latest_values_when_the_archive_has_them(
    system: WholeSystem, silent: ArchiveFolder
) -> None:
    """Of a VEN that has been silent since: its last report, a load, and a description; and of a new VEN."""
    at = SILENT_SINCE + timedelta(seconds=1)
    report = telemetry("silent", at, 2.0, loads=[{"id": "boiler", "currentPowerKw": 1.5}])
    named = description("silent", SILENT_SINCE, {"id": "heater", "name": "Heater"})
    system.ingest(published(report, named, telemetry("new", at, 4.0), telemetry("silent", SILENT_SINCE, 9.0)))
    system.catch_up()
    archive(system.engine, silent)
    system.catch_up()
    check_latest(system)
    assert system.get("/vens/silent")["metrics"]["currentPowerKw"] == 2.0


def published(*messages: Received) -> list[Published]:
    return [Published(each.topic, each.payload) for each in messages]
