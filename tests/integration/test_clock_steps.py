"""`python -m jobs` on a machine whose clock somebody sets, by an hour, in either direction."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.faults.deadline import until
from tests.faults.jobs import Scheduler
from tests.faults.requirement import be_without
from tests.integration.published import value

SOON_S = 10.0
CYCLES = "SELECT extract(epoch FROM refreshed_at) FROM network_snapshot"
HOUR_S = 3600
LIBRARIES = ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu")


pytestmark = pytest.mark.thorough


class MachineClock:
    """What a program believes the time to be: the true one and an offset, which can be changed under it.

    Its monotonic clock is true, as on any machine whose clock is set.
    """

    def __init__(self, file: Path) -> None:
        libraries = [Path(each) / "faketime/libfaketimeMT.so.1" for each in LIBRARIES]
        library = next((each for each in libraries if each.exists()), None)
        if library is None or shutil.which("faketime") is None:
            be_without("faketime is not installed: `apt-get install faketime`")
        self._file = file
        self.settings = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }
        self.set(0)

    def set(self, ahead_s: int) -> None:
        other = self._file.with_suffix(".new")
        other.write_text(f"{ahead_s:+d}\n")
        other.replace(self._file)


@pytest.fixture
def machine_clock(tmp_path: Path) -> MachineClock:
    return MachineClock(tmp_path / "faketime")


@pytest.fixture
def scheduler(database_url: str, tmp_path: Path, machine_clock: MachineClock) -> Iterator[Scheduler]:
    with Scheduler(
        tmp_path, database_url, "faked", JOBS_SNAPSHOT_EVERY_S="1", **machine_clock.settings
    ) as running:
        yield running


def goes_on(connection: psycopg.Connection[Any], how_often: int = 3) -> None:
    """Totals are computed again and again, as of the database's time."""
    for _ in range(how_often):
        _await_cycle(connection)
        age_s = value(connection, f"SELECT extract(epoch FROM clock_timestamp()) - ({CYCLES})")
        assert abs(age_s) < SOON_S


def _await_cycle(connection: psycopg.Connection[Any]) -> None:
    latest = f"SELECT coalesce(({CYCLES}), 0)"
    before = value(connection, latest)
    until(lambda: value(connection, latest) > before, SOON_S, lambda: "no job runs")


@pytest.mark.parametrize("step_s", [-HOUR_S, HOUR_S])
def test_jobs_go_on_after_a_step_and_back(
    scheduler: Scheduler, machine_clock: MachineClock, connection: psycopg.Connection[Any], step_s: int
) -> None:
    """After a step back of an hour, put right at once, no job ran for an hour."""
    goes_on(connection)
    for ahead_s in (step_s, 0):
        machine_clock.set(ahead_s)
        goes_on(connection, 5)
    assert 1 <= scheduler.has_logged("clock_stepped") <= 2
    assert scheduler.health()[0] == 200


@pytest.mark.parametrize("ahead_s", [-HOUR_S, HOUR_S])
def test_a_scheduler_with_a_wrong_clock_leaves_right_leases(
    database_url: str,
    tmp_path: Path,
    machine_clock: MachineClock,
    connection: psycopg.Connection[Any],
    ahead_s: int,
) -> None:
    """One that was an hour ahead left leases of an hour behind when it died."""
    machine_clock.set(ahead_s)
    settings = machine_clock.settings | {"JOBS_SNAPSHOT_EVERY_S": "1"}
    dying = Scheduler(tmp_path, database_url, "dying", **settings)
    dying.start()
    try:
        goes_on(connection, 2)
    finally:
        dying.kill()
    longest = "SELECT max(expires_at - clock_timestamp()) < interval '2 hours' FROM job_leases WHERE job IN"
    assert value(connection, f"{longest} ('trim', 'partitions')")
    quick = "SELECT max(expires_at - clock_timestamp()) < interval '1 min' FROM job_leases WHERE job IN"
    assert value(connection, f"{quick} ('snapshot', 'history', 'presence', 'events')")
    with Scheduler(tmp_path, database_url, "heir", JOBS_SNAPSHOT_EVERY_S="1"):
        goes_on(connection)
    assert dying.has_logged("clock_differs") == 1
