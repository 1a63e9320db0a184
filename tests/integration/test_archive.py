"""Closed days as Parquet: complete, verified, and only then dropped from PostgreSQL."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from random import Random
from typing import Any

import duckdb
import polars as pl
import psycopg
import pytest
from pyarrow import fs
from sqlalchemy import Engine, Table, select
from sqlalchemy.exc import OperationalError

from analysis.raw_tables import RawTables
from ingest.storing.store import Store
from jobs.archive.checking import damages, write_again
from jobs.archive.late import MOST_FILES
from jobs.archive.verifying import archived_range, verify_archived
from jobs.archive.writing import archive_next_day
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from jobs.storage.partitions import arrange_partitions
from jobs.storage.retention import delete_raw_rows, drop_raw_days, preview
from jobs.summaries.rows import fetch
from schemas.archive.folder import ArchiveError, ArchiveFolder
from schemas.tables import FRAMES
from schemas.tables.raw import PARTITIONED, ven_load_samples, ven_telemetry
from schemas.times.time_ranges import TimeRange
from tests.conftest import REPOSITORY
from tests.integration.mortal import mortal_engine
from tests.integration.published import NOW, batch_of, description, rows, telemetry, value

LANES = tuple(job for job in schedule(Cadence()) if job.has_backlog)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
NOON = NOW.replace(hour=12)
WEEK = [NOON - number * DAY for number in range(7)]
CLOSED = [at for at in WEEK if at.date() < date(2024, 7, 8)]
DAYS = "SELECT ensure_raw_partitions(%s::date[])"


@pytest.fixture
def week(store: Store, runner: Runner, connection: psycopg.Connection) -> None:
    """A report with two loads and a description of each VEN and day; texts of any kind, and gaps."""
    connection.execute(DAYS, [[at.date() for at in WEEK]])
    for at in WEEK:
        store.write(batch_of(*(message for ven_id in ("a", "b é", "ü") for message in said(ven_id, at))))
    runner.catch_up(LANES)


def said(ven_id: str, at: Any, used_kw: float = 1.0) -> list[Any]:
    loads = [{"id": "l", "currentPowerKw": used_kw / 3}, {"id": 'q"uo,te', "type": "", "note": None}]
    report = telemetry(ven_id, at, used_kw, loads=loads, note='a "b"\n,c')
    return [report, description(ven_id, at, {"id": "l", "name": "", "capacityKw": 0.1})]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture
def folder(path: Path) -> ArchiveFolder:
    return ArchiveFolder(path.as_uri())


def archive(engine: Engine, folder: ArchiveFolder, after: timedelta = 2 * DAY) -> int:
    """Archive until nothing is left; answers how many days were written."""
    steps = 0
    while step(engine, folder, after):
        steps += 1
    return steps


def step(engine: Engine, folder: ArchiveFolder, after: timedelta = 2 * DAY) -> int:
    with engine.begin() as connection:
        return archive_next_day(connection, NOW, folder=folder, after=after)


def drop(engine: Engine, days: int = 3) -> int:
    with engine.begin() as connection:
        return drop_raw_days(connection, NOW, {0: days * DAY}, is_archived=True) // 3


def delete(engine: Engine, days: int = 3) -> int:
    with engine.begin() as connection:
        return delete_raw_rows(connection, NOW, {0: days * DAY}, is_archived=True)


def manifests(path: Path) -> list[dict[str, Any]]:
    return [json.loads(each.read_text()) for each in sorted(path.glob("manifests/*.json"))]


def archived(path: Path, table: Table) -> pl.DataFrame:
    """What the files of all manifests hold of a table."""
    files = [each["path"] for manifest in manifests(path) for each in manifest["files"]]
    parts = [pl.read_parquet(path / name) for name in files if name.startswith(f"{table.name}/")]
    return ordered(pl.concat([pl.DataFrame(schema=FRAMES[table.name].types()), *parts]), table)


def stored(engine: Engine, table: Table, before: date = date(2024, 7, 8)) -> pl.DataFrame:
    model = FRAMES[table.name]
    query = select(*(table.c[name] for name in model.types())).where(
        table.c.ts < datetime.combine(before, time(), UTC)
    )
    with engine.connect() as connection:
        return ordered(fetch(connection, query, model), table)


def ordered(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    return frame.sort([key.name for key in table.primary_key])


@pytest.mark.usefixtures("week")
def test_closed_days_are_files_with_every_row(engine: Engine, folder: ArchiveFolder, path: Path) -> None:
    assert archive(engine, folder) == 1 + len(CLOSED)  # the first step gives the archive its id
    assert [each["day"] for each in manifests(path)] == sorted(f"{at:%F}" for at in CLOSED)
    for table in PARTITIONED:
        rows = archived(path, table)
        assert rows.height > 0
        assert rows.equals(stored(engine, table))
    assert archive(engine, folder) == 0


@pytest.mark.usefixtures("week")
def test_any_tool_sees_what_the_manifest_says(
    engine: Engine, folder: ArchiveFolder, path: Path, connection: psycopg.Connection
) -> None:
    archive(engine, folder)
    files = [each for manifest in manifests(path) for each in manifest["files"]]
    assert len(files) == 3 * len(CLOSED)
    for each in files:
        content = (path / each["path"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (each["bytes"], each["sha256"])
    for table in ("ven_telemetry", "ven_load_samples"):
        select_sums = "SELECT count(*), count(DISTINCT ven_id), sum(used_power_kw), max(batch_id) FROM {}"
        found = duckdb.execute(select_sums.format(f"'{path}/{table}/*.parquet'")).fetchall()
        [in_database] = rows(connection, f"{select_sums.format(table)} WHERE ts < '2024-07-08Z'")
        assert found == [pytest.approx(in_database)]
        of_table = [each["totals"] for each in files if each["table"] == table]
        assert sum(each["rows"] for each in of_table) == in_database[0]
        sums = [each["columns"]["used_power_kw"]["sum"] for each in of_table]
        assert sum(sums) == pytest.approx(in_database[2])


@pytest.mark.usefixtures("week")
def test_rows_lie_by_ven_and_time(
    engine: Engine, folder: ArchiveFolder, path: Path, store: Store, connection: psycopg.Connection
) -> None:
    for minutes in (7, 3, 5):
        store.write(batch_of(*said("a", CLOSED[0] + timedelta(minutes=minutes))))
    archive(engine, folder)
    [file] = path.glob(f"ven_load_samples/{CLOSED[0]:%F}.*")
    key = ["ven_id", "load_id", "ts"]
    assert pl.read_parquet(file).select(key).equals(pl.read_parquet(file).select(key).sort(key))
    assert value(connection, "SELECT count(*) FROM archived_days") == len(CLOSED)


@pytest.mark.usefixtures("week")
def test_a_day_with_late_rows_is_written_again(
    engine: Engine, folder: ArchiveFolder, path: Path, store: Store
) -> None:
    archive(engine, folder)
    late = CLOSED[1] + timedelta(seconds=1)
    store.write(batch_of(*said("late", late), *said("a", CLOSED[1])))  # the second one is a duplicate
    assert step(engine, folder) > 1
    assert archived(path, ven_telemetry).equals(stored(engine, ven_telemetry))
    assert len(list(path.glob(f"ven_telemetry/{late:%F}.*"))) == 2
    assert archive(engine, folder) == 0
    [file] = path.glob(f"ven_telemetry/{late:%F}.*")
    assert file.name == f"{late:%F}.2.parquet"


@pytest.mark.usefixtures("week")
def test_a_day_that_had_no_rows_is_written_when_some_come(
    engine: Engine, folder: ArchiveFolder, path: Path, store: Store
) -> None:
    archive(engine, folder)
    store.write(batch_of(telemetry("a", NOW - 900 * DAY), telemetry("a", NOW - 5_000 * DAY)))
    assert archive(engine, folder) == 2
    assert archived(path, ven_telemetry).equals(stored(engine, ven_telemetry))


@pytest.mark.usefixtures("week")
def test_rows_of_an_unfinished_transaction_are_not_missed(
    engine: Engine, folder: ArchiveFolder, path: Path, database_url: str
) -> None:
    """It began before the day was archived, and is committed after that."""
    with psycopg.connect(database_url) as other:
        other.execute("SELECT pg_current_xact_id()")
        archive(engine, folder)
        other.execute(
            "INSERT INTO ingest_batches (batch_id, worker, received_at, messages, telemetry_rows,"
            " sample_rows, description_rows, status_rows, first_ts, last_ts, days)"
            " VALUES (999, 'slow', now(), 1, 1, 0, 0, 0, %(at)s, %(at)s, ARRAY[%(at)s::date])",
            {"at": CLOSED[0]},
        )
        other.execute(
            "INSERT INTO ven_telemetry (ven_id, ts, shed_power_kw, payload, received_at, batch_id)"
            " VALUES ('slow', %s, 0, '{}', now(), 999)",
            [CLOSED[0]],
        )
    assert archive(engine, folder) == 1
    assert "slow" in archived(path, ven_telemetry).get_column("ven_id").to_list()


@pytest.mark.usefixtures("week")
def test_a_transaction_that_runs_for_long_does_not_have_days_written_again_and_again(
    engine: Engine, folder: ArchiveFolder, store: Store, database_url: str
) -> None:
    archive(engine, folder)
    with psycopg.connect(database_url) as other:
        other.execute("SELECT pg_current_xact_id()")
        store.write(batch_of(*said("late", CLOSED[0])))
        assert archive(engine, folder) == 1


@pytest.mark.usefixtures("week")
def test_retention_drops_what_the_archive_has(
    engine: Engine, folder: ArchiveFolder, path: Path, store: Store, runner: Runner
) -> None:
    before = {table: stored(engine, table, date(2024, 7, 7)) for table in PARTITIONED}
    assert drop(engine) == 0
    for _ in range(3):
        step(engine, folder)  # the id, and two days
    assert drop(engine) == 2
    archive(engine, folder)
    store.write(batch_of(*said("late", WEEK[4])))
    runner.catch_up(LANES)
    assert drop(engine) == 0
    archive(engine, folder)
    assert drop(engine) == 1
    for table, frame in before.items():
        assert stored(engine, table, date(2024, 7, 7)).is_empty()
        kept = archived(path, table).filter(pl.col("ts") < pl.datetime(2024, 7, 7, time_zone="UTC"))
        assert kept.filter(pl.col("ven_id") != "late").equals(frame)
        assert kept.height == frame.height + (2 if table is ven_load_samples else 1)


@pytest.mark.usefixtures("week")
def test_nothing_is_dropped_without_its_archive(engine: Engine, connection: psycopg.Connection) -> None:
    assert drop(engine) == 0
    with engine.connect() as reading:
        notes = {line.note for line in preview(reading, NOW, {0: 3 * DAY}, is_archived=True)}
    assert notes == {"waits for the archive"}
    assert rows(connection, "SELECT * FROM horizons") == []
    with engine.begin() as without:
        assert drop_raw_days(without, NOW, {0: 3 * DAY}) == 9


@pytest.fixture
def dropped(engine: Engine, folder: ArchiveFolder, week: None) -> None:
    del week
    archive(engine, folder)
    assert drop(engine) == 3


@pytest.mark.usefixtures("dropped")
def test_late_rows_of_dropped_days_are_added_once(
    engine: Engine,
    folder: ArchiveFolder,
    path: Path,
    store: Store,
    runner: Runner,
    connection: psycopg.Connection,
) -> None:
    """A redelivery, a conflict, and new rows; each comes twice, as far as ingest lets it through."""
    before = archived(path, ven_telemetry)
    conflict = telemetry("ü", WEEK[5], 7.0, loads=[{"id": "new", "currentPowerKw": 1.0}])
    for _ in range(2):
        store.write(batch_of(*said("a", WEEK[5]), conflict, *said("new", WEEK[5])))
        assert delete(engine) == 0  # the archive has not read them yet
        archive(engine, folder)
        assert delete(engine) == 0  # nor have the lanes, for the latest values
        runner.catch_up(LANES)
        assert delete(engine) > 0
        now = archived(path, ven_telemetry)
        assert now.filter(pl.col("ven_id") != "new").equals(before)
        assert now.height == before.height + 1
        samples = archived(path, ven_load_samples)
        assert samples.filter(pl.col("load_id") == "new").is_empty()
        assert samples.filter(pl.col("ven_id") == "new").height == 2
        assert stored(engine, ven_telemetry, date(2024, 7, 7)).is_empty()
    refused = rows(connection, "SELECT reason, ven_id, ts, payload FROM rejected_messages")
    assert refused == 2 * [("conflict", "ü", WEEK[5], conflict.payload)]


@pytest.mark.thorough
@pytest.mark.usefixtures("dropped")
def test_files_with_late_rows_are_merged(
    engine: Engine, folder: ArchiveFolder, path: Path, store: Store, runner: Runner
) -> None:
    """Where a day has many; readers that have begun before find the old ones for an hour."""
    for number in range(MOST_FILES):
        store.write(batch_of(*said("late", WEEK[5] + timedelta(seconds=number))))
        archive(engine, folder)
    [manifest] = [each for each in manifests(path) if each["day"] == f"{WEEK[5]:%F}"]
    of_reports = [each["path"] for each in manifest["files"] if each["table"] == "ven_telemetry"]
    assert len(of_reports) == 2
    assert archived(path, ven_telemetry).filter(pl.col("ven_id") == "late").height == MOST_FILES
    runner.catch_up(LANES)
    assert differences(engine, folder) == []
    files = {f"{each.relative_to(path)}" for each in path.glob(f"ven_telemetry/{WEEK[5]:%F}.*")}
    assert len(files) == 1 + MOST_FILES
    with engine.begin() as connection:
        archive_next_day(connection, NOW + 2 * HOUR, folder=folder, after=2 * DAY)
    files = {f"{each.relative_to(path)}" for each in path.glob(f"ven_telemetry/{WEEK[5]:%F}.*")}
    assert files == set(of_reports)
    with engine.connect() as connection:
        assert list(damages(connection, folder)) == []


@pytest.mark.usefixtures("dropped")
def test_a_description_that_contradicts_the_archive_is_refused(
    engine: Engine, folder: ArchiveFolder, store: Store, runner: Runner, connection: psycopg.Connection
) -> None:
    at = WEEK[6]
    store.write(batch_of(description("a", at, {"id": "l", "name": "other"}, {"id": "m"})))
    archive(engine, folder)
    [refused] = rows(connection, "SELECT reason, topic, detail FROM rejected_messages")
    assert refused[:2] == ("load_conflict", "ven/loads/a")
    assert refused[2].startswith("l of a at 2024-07-04")
    runner.catch_up(LANES)
    assert delete(engine) == 1


@pytest.mark.usefixtures("dropped")
def test_analysis_reads_on_in_the_archive(engine: Engine, path: Path) -> None:
    raw = RawTables(engine, "UTC", path.as_uri())
    frame = raw.telemetry().collect()
    assert frame.height == 3 * len(WEEK)
    hot = RawTables(engine, "UTC").telemetry().collect()
    assert hot.height == 3 * 4
    assert frame.tail(hot.height).equals(hot)
    some = raw.load_samples(start=WEEK[6] + DAY, end=WEEK[2]).filter(pl.col("ven_id") == "a")
    assert some.select("ts").unique().collect().height == 3
    assert frame.schema == hot.schema


@pytest.mark.thorough
@pytest.mark.usefixtures("dropped")
def test_the_summary_of_dropped_days_is_what_the_archive_says(
    engine: Engine, folder: ArchiveFolder, store: Store, runner: Runner, connection: psycopg.Connection
) -> None:
    """Also with a late row, and for one VEN alone."""
    store.write(batch_of(*said("late", WEEK[5]), *said("late", WEEK[0])))
    runner.catch_up(LANES)
    archive(engine, folder)
    assert differences(engine, folder) == []
    connection.execute("UPDATE ven_history SET samples = 7 WHERE ven_id = 'a' AND bucket < '2024-07-05Z'")
    connection.execute("UPDATE load_history SET samples = 7 WHERE ven_id = 'ü' AND bucket < '2024-07-05Z'")
    connection.execute("DELETE FROM network_history WHERE resolution_s = 1 AND bucket < '2024-07-06Z'")
    tables = [table for table, *_ in differences(engine, folder)]
    assert sorted(set(tables)) == ["load_history", "network_history", "ven_history"]
    assert {table for table, *_ in differences(engine, folder, ["a"])} == {"ven_history"}
    connection.execute("INSERT INTO horizons VALUES (1, '2024-07-09Z')")
    assert {table for table, *_ in differences(engine, folder)} == {"load_history", "ven_history"}


def differences(
    engine: Engine, folder: ArchiveFolder, ven_ids: list[str] | None = None
) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        within = archived_range(connection, None, None)
    assert within == TimeRange(WEEK[6].replace(hour=0), WEEK[3].replace(hour=0))
    chunks = list(verify_archived(engine, folder, within, ven_ids))
    assert len(chunks) == 3
    return [line for chunk in chunks for line in chunk.differences.iter_rows()]


def test_an_archive_belongs_to_one_database(
    engine: Engine, folder: ArchiveFolder, tmp_path: Path, week: None, connection: psycopg.Connection
) -> None:
    del week
    archive(engine, folder)
    with pytest.raises(ArchiveError, match="is it another folder"):
        step(engine, ArchiveFolder((tmp_path / "empty").as_uri()))
    connection.execute("UPDATE archives SET archive_id = 'other'")
    with pytest.raises(ArchiveError, match=r"holds the archive [0-9a-f-]{36}, not other"):
        step(engine, folder)
    connection.execute("DELETE FROM archives")
    with pytest.raises(ArchiveError, match="choose an empty folder"):
        step(engine, folder)


@pytest.mark.usefixtures("dropped")
def test_after_a_restore_with_other_transaction_numbers_all_days_are_written_again(
    engine: Engine, folder: ArchiveFolder, path: Path, connection: psycopg.Connection, store: Store
) -> None:
    before = archived(path, ven_telemetry)
    connection.execute("UPDATE archives SET caught_up_xact_id = 1e15")
    connection.execute("UPDATE archived_days SET snapshot = '1000000000000000:1000000000000000:'")
    store.write(batch_of(telemetry("late", CLOSED[0]), telemetry("late", WEEK[6])))
    assert delete(engine) == 0
    assert archive(engine, folder) == 1 + 2  # one day that is stored, one with a late row
    now = archived(path, ven_telemetry)
    assert now.filter(pl.col("ven_id") != "late").equals(before)
    assert now.height == before.height + 2


@pytest.mark.usefixtures("week")
def test_damage_is_found(engine: Engine, folder: ArchiveFolder, path: Path) -> None:
    archive(engine, folder)
    one, other, third = sorted(path.glob("ven_telemetry/*"))[:3]
    with engine.connect() as connection:
        assert list(damages(connection, folder)) == []
        content = bytearray(one.read_bytes())
        content[len(content) // 2] ^= 1
        one.write_bytes(content)
        other.write_bytes(content[:100])
        third.unlink()
        (path / "manifests/2024-07-07.json").write_text("{}")
        found = sorted(damages(connection, folder), key=lambda damage: damage.path)
    assert [each.path for each in found] == [
        "manifests/2024-07-07.json",
        *(f"ven_telemetry/{each.name}" for each in (one, other, third)),
    ]
    assert "SHA-256" in found[1].what
    assert "bytes, not" in found[2].what
    assert found[3].what == "missing"


@pytest.mark.usefixtures("week")
def test_what_postgresql_still_has_is_written_again_and_not_dropped_before(
    engine: Engine, folder: ArchiveFolder, path: Path
) -> None:
    archive(engine, folder)
    everything = archived(path, ven_telemetry)
    [file] = path.glob("ven_telemetry/2024-07-05.*")
    file.unlink()
    with engine.begin() as connection:
        assert write_again(connection, [each.day for each in damages(connection, folder)]) == date(2024, 7, 5)
    assert drop(engine) == 1
    assert archive(engine, folder) == 3
    assert archived(path, ven_telemetry).equals(everything)
    assert drop(engine) == 2
    with engine.begin() as connection:
        assert write_again(connection, [date(2024, 7, 5)]) is None


@pytest.mark.thorough
@pytest.mark.usefixtures("week")
def test_deaths_at_every_statement(
    engine: Engine, folder: ArchiveFolder, path: Path, store: Store, runner: Runner, database_url: str
) -> None:
    """Archive, rewrite, drop, take late rows, delete: each statement of each is the last one once."""
    everything = {table: stored(engine, table) for table in PARTITIONED}
    steps: list[Callable[[Engine], object]] = [
        lambda engine: archive(engine, folder),
        drop,
        lambda _: store.write(batch_of(*said("new", WEEK[6]), *said("a", WEEK[6]))),
        lambda engine: archive(engine, folder),
        delete,  # not yet: the lanes have not read the late rows
        lambda _: runner.catch_up(LANES),
        delete,
    ]
    for each in steps:
        _survive(database_url, each)
    for table, frame in everything.items():
        found = archived(path, table)
        assert found.filter(pl.col("ven_id") != "new").equals(frame)
        assert found.height == frame.height + (2 if table is ven_load_samples else 1)
    with engine.connect() as connection:
        assert list(damages(connection, folder)) == []
    assert stored(engine, ven_telemetry, date(2024, 7, 7)).is_empty()
    assert differences(engine, folder) == []


def _survive(database_url: str, work: Callable[[Engine], object]) -> None:
    """Let work die at its first statement, at its second, and so on, until it comes to its end."""
    last = 0
    while True:
        last += 1
        assert last < 500
        engine, fuse = mortal_engine(database_url)
        fuse.left = last
        try:
            work(engine)
        except (OperationalError, psycopg.OperationalError):
            continue
        finally:
            engine.dispose()
        return


ARCHIVE = """
import sys
from datetime import UTC, datetime, timedelta
from jobs.archive.writing import archive_next_day
from jobs.storage.retention import delete_raw_rows, drop_raw_days
from schemas.archive.folder import ArchiveFolder
from schemas.db.connections import engine_for
engine, now, day = engine_for(sys.argv[1], "jobs"), datetime(2024, 7, 10, 18, tzinfo=UTC), timedelta(days=1)
folder = ArchiveFolder(sys.argv[2])
print(flush=True)
while True:
    with engine.begin() as connection:
        archive_next_day(connection, now, folder=folder, after=2 * day)
    for let_go in (drop_raw_days, delete_raw_rows):
        with engine.begin() as connection:
            let_go(connection, now, {0: 3 * day}, is_archived=True)
"""


@pytest.mark.faults
@pytest.mark.usefixtures("week")
def test_kills_at_any_time(
    engine: Engine, folder: ArchiveFolder, path: Path, store: Store, runner: Runner, database_url: str
) -> None:
    """`kill -9` while days are archived and dropped, and while late rows come for them."""
    written, dice = 3 * len(CLOSED), Random(5)
    for number in range(20):
        with _archiving(database_url, path) as jobs:
            for late in range(3):
                at = dice.choice(CLOSED) + timedelta(seconds=10 * number + late)
                store.write(batch_of(*said("late", at), *said("a", CLOSED[0])))
                written += 1
                runner.catch_up(LANES)
            with suppress(subprocess.TimeoutExpired):
                jobs.wait(0.1 + dice.random())
            jobs.kill()
    archive(engine, folder)
    drop(engine)
    delete(engine)
    assert archived(path, ven_telemetry).height == written
    runner.catch_up(LANES)
    assert differences(engine, folder) == []
    assert stored(engine, ven_telemetry, date(2024, 7, 7)).is_empty()


def _archiving(database_url: str, path: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", ARCHIVE, database_url, path.as_uri()]
    jobs = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert jobs.stdout is not None
    jobs.stdout.readline()
    return jobs


@pytest.mark.usefixtures("week")
def test_late_rows_of_dropped_days_stay_out_of_partitions(engine: Engine, folder: ArchiveFolder) -> None:
    archive(engine, folder)
    drop(engine)
    with engine.begin() as connection:
        arrange_partitions(connection, NOW, retention=3 * DAY)
        [[oldest]] = connection.exec_driver_sql(
            "SELECT min(since) FROM raw_partitions('ven_telemetry') WHERE NOT is_default AND isfinite(since)"
        )
    assert oldest.date() == date(2024, 7, 7)


def test_the_job_runs_only_where_there_is_an_archive(path: Path) -> None:
    assert "archive" not in {job.name for job in schedule(Cadence())}
    with_archive = schedule(Cadence.model_validate({"ARCHIVE_URL": path.as_uri()}))
    assert "archive" in {job.name for job in with_archive}


@pytest.mark.thorough
@pytest.mark.usefixtures("week")
def test_the_command(database_url: str, path: Path) -> None:
    assert run("", database_url, "archive") == (2, "")
    code, told = run(path.as_uri(), database_url, "archive")
    assert (code, told.splitlines()[-1].split(":")[0]) == (0, "7 days are archived")
    assert run(path.as_uri(), database_url, "archive", "--check") == (0, "0 damaged or missing files\n")
    next(path.glob("ven_telemetry/*")).unlink()
    code, told = run(path.as_uri(), database_url, "archive", "--check")
    assert code == 1
    assert "1 damaged or missing files" in told.splitlines()


def run(archive_url: str, database_url: str, *arguments: str) -> tuple[int, str]:
    url = {"ARCHIVE_URL": archive_url} if archive_url else {}
    ran = subprocess.run(
        [sys.executable, "-m", "jobs", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "DATABASE_URL": database_url, **url},
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in ran.stderr
    return ran.returncode, ran.stdout


@pytest.fixture
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Moto's server of S3, with a bucket."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - a second, for one test

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        system = fs.S3FileSystem(
            region="us-east-1",
            scheme="http",
            endpoint_override=f"{host}:{port}",
            allow_bucket_creation=True,
        )
        system.create_dir("grid")
        yield f"s3://grid/history?region=us-east-1&scheme=http&endpoint_override={host}:{port}"
    finally:
        server.stop()


@pytest.mark.usefixtures("week")
def test_an_object_store(engine: Engine, object_store: str, path: Path, store: Store) -> None:
    """The same bytes as on a disk, by the same steps; Polars reads them there."""
    folder = ArchiveFolder(object_store)
    archive(engine, folder)
    drop(engine)
    store.write(batch_of(*said("new", WEEK[6]), *said("a", WEEK[6])))
    archive(engine, folder)
    with engine.connect() as connection:
        assert list(damages(connection, folder)) == []
    frame = RawTables(engine, "UTC", object_store).telemetry().collect()
    assert frame.height == 3 * len(WEEK) + 1
    assert frame.filter(pl.col("ven_id") == "new").height == 1
    assert folder.read("archive.json") is not None
    del path
