"""A disk of the database is full for a while."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from local.postgres_binaries import SYSTEM_USER
from tests.faults.deadline import until
from tests.faults.program import Ingest
from tests.faults.site import DATABASE, Site
from tests.faults.volume import SmallDisk

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-database")]

FAILURES = 5
WITHIN_S = 120.0
KILOBYTES_A_MESSAGE = 8


@pytest.fixture
def disk(tmp_path: Path, messages: int) -> Iterator[SmallDisk]:
    """Room for all messages, as rows or as WAL, and for what an empty cluster needs."""
    with SmallDisk(tmp_path / "disk", 256 + messages * KILOBYTES_A_MESSAGE // 1024) as mounted:
        yield mounted


@pytest.mark.parametrize("broker", ["mosquitto", "embedded"], indirect=True)
def test_the_tables_find_no_room(disk: SmallDisk, site: Site, messages: int) -> None:
    """The tables have a disk of their own: PostgreSQL keeps running, and refuses each batch with 53100."""
    place = disk.directory / "tables"
    place.mkdir()
    shutil.chown(place, SYSTEM_USER, SYSTEM_USER)
    with psycopg.connect(site.postgres.url("postgres"), autocommit=True) as admin:
        admin.execute(f"CREATE TABLESPACE small LOCATION '{place}'".encode())
        admin.execute(f"ALTER DATABASE {DATABASE} SET TABLESPACE small".encode())
    worker = site.ingest()
    sender = site.sender(messages, per_s=messages / 15)
    site.until_stored(messages // 5)
    disk.fill()
    _wait_for_failures(worker)
    assert worker.has_logged("No space left on device")
    assert site.tally.stored() < messages
    disk.make_room()
    site.settle(sender, "disk of the tables full")


@pytest.mark.parametrize("broker", ["mosquitto", "embedded"], indirect=True)
def test_the_log_finds_no_room(disk: SmallDisk, site: Site, messages: int) -> None:
    """The WAL has a disk of its own: PostgreSQL panics, fails to recover, and is started again with room."""
    site.postgres.stop()
    beside = disk.directory / "wal"
    wal = site.directory / "postgres" / "pg_wal"
    shutil.copytree(wal, beside)
    for path in (beside, *beside.rglob("*")):
        shutil.chown(path, SYSTEM_USER, SYSTEM_USER)
        path.chmod(0o700)
    shutil.rmtree(wal)
    wal.symlink_to(beside)
    site.postgres.start()
    worker = site.ingest()
    sender = site.sender(messages, per_s=messages / 15)
    site.until_stored(messages // 5)
    disk.fill()
    until(lambda: _panics(site), WITHIN_S, lambda: "the disk is full, and PostgreSQL writes its log")
    _wait_for_failures(worker)
    disk.make_room()
    site.postgres.start()
    site.settle(sender, "disk of the WAL full")


def _panics(site: Site) -> bool:
    """Whether PostgreSQL has panicked; switches WAL files until then."""
    with contextlib.suppress(psycopg.Error), psycopg.connect(site.database_url, autocommit=True) as admin:
        admin.execute("SELECT pg_switch_wal()")
    log = site.postgres.log
    return log is not None and "PANIC" in log.read_text(errors="replace")


def _wait_for_failures(worker: Ingest) -> None:
    """Wait until several attempts have failed."""
    until(
        lambda: worker.has_logged("store_failed") >= FAILURES,
        WITHIN_S,
        lambda: "the disk is full, and ingest does not mind",
    )
