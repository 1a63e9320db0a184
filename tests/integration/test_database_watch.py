"""The thread that keeps a program's time by the database's, and knows whether its schema fits."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from schemas.db.answers import SILENT_S, AnswerMonitor
from schemas.db.clock import DatabaseClock, StepDetector
from schemas.db.connections import SCHEMA_REVISION, connect
from schemas.db.watching import DatabaseWatch
from tests.integration.published import value


class Times:
    """A machine's clocks, that a test moves."""

    def __init__(self) -> None:
        self.wall, self.monotonic_s = datetime.now(UTC), 1_000.0

    def pass_(self, seconds: float) -> None:
        self.wall += timedelta(seconds=seconds)
        self.monotonic_s += seconds

    def set_(self, by_s: float) -> None:
        self.wall += timedelta(seconds=by_s)


class Machine:
    """A watch with clocks that a test moves; its log, and how often it planned again."""

    def __init__(self, url: str) -> None:
        self.url, self.times, self.said, self.planned = url, Times(), list[tuple[str, dict[str, Any]]](), 0
        wall, monotonic = (lambda: self.times.wall), (lambda: self.times.monotonic_s)
        self.clock, self.monitor = DatabaseClock(wall, monotonic), AnswerMonitor(monotonic)
        self.watch = DatabaseWatch(
            lambda: connect(self.url, "watch", monitor=self.monitor),
            self.monitor,
            self.clock,
            StepDetector(wall, monotonic),
            lambda event, **fields: self.said.append((event, fields)),
        )


@pytest.fixture
def machine(database_url: str) -> Iterator[Machine]:
    built = Machine(database_url)
    yield built
    built.watch.close()


def seconds_between(one: datetime, other: datetime) -> float:
    return abs((one - other).total_seconds())


@pytest.mark.parametrize("by_s", [3600.0, -3600.0])
def test_a_wrong_clock_does_not_count(
    machine: Machine, connection: psycopg.Connection[Any], by_s: float
) -> None:
    """A scheduler whose clock was an hour ahead left leases of an hour behind."""
    machine.times.set_(by_s)
    machine.watch.look()
    assert seconds_between(machine.clock(), value(connection, "SELECT clock_timestamp()")) < 20
    [(event, fields)] = machine.said
    assert event == "clock_differs"
    assert fields["ahead_of_database_s"] == pytest.approx(by_s, abs=20)
    machine.watch.look()
    assert len(machine.said) == 1


def test_time_goes_on_by_a_clock_that_nobody_sets(machine: Machine) -> None:
    machine.watch.look()
    before = machine.clock()
    machine.times.pass_(7)
    machine.times.set_(-3600)
    assert machine.clock() - before == timedelta(seconds=7)


@pytest.mark.parametrize(("by_s", "step_s"), [(-3600.0, -3600.0), (7.5, 7.5), (0.5, None), (0.0, None)])
def test_a_step_is_noticed_once(by_s: float, step_s: float | None) -> None:
    times = Times()
    steps = StepDetector(lambda: times.wall, lambda: times.monotonic_s)
    times.pass_(100)
    assert steps.step_s() is None
    times.pass_(1)
    times.set_(by_s)
    assert steps.step_s() == (None if step_s is None else pytest.approx(step_s))
    times.pass_(1)
    assert steps.step_s() is None


def test_a_schema_that_does_not_fit_is_told_of(machine: Machine, connection: psycopg.Connection[Any]) -> None:
    machine.watch.look()
    assert machine.watch.trouble() is None
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    machine.watch.look()
    machine.watch.look()
    assert [event for event, _ in machine.said] == ["wrong_revision"]
    assert f"at revision 9999, this program needs {SCHEMA_REVISION}" in (machine.watch.trouble() or "")
    connection.execute("UPDATE alembic_version SET version_num = %s", [SCHEMA_REVISION])
    machine.watch.look()
    assert [event for event, _ in machine.said] == ["wrong_revision", "right_revision"]
    assert machine.watch.trouble() is None


def test_a_database_without_a_schema_does_not_fit(machine: Machine) -> None:
    machine.url = f"{machine.url}{'&' if '?' in machine.url else '?'}options=-csearch_path%3Dnowhere"
    machine.watch.look()
    assert "never been" in (machine.watch.trouble() or "")


def test_a_database_that_is_away_makes_a_program_unwell_by_its_age(
    machine: Machine, database_url: str
) -> None:
    machine.watch.look()
    machine.watch.close()
    machine.url = "postgresql://nobody@/nothing?host=/nonexistent"
    machine.watch.look()
    machine.times.pass_(SILENT_S)
    machine.watch.look()
    assert machine.watch.trouble() is None
    machine.times.pass_(1)
    assert machine.watch.trouble() == f"the database has not answered for {SILENT_S + 1:.0f} s"
    machine.url = database_url
    machine.watch.look()
    assert machine.watch.trouble() is None
