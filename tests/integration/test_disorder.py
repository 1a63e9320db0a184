"""In any order of arrivals and jobs, the summary ends equal to the raw rows and to the plain loop.

`HYPOTHESIS_PROFILE=night .venv/bin/python -m pytest tests/integration/test_disorder.py` looks longer.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from random import Random
from typing import Any

import psycopg
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from jobs.storage.partitions import arrange_partitions
from jobs.summaries.rebuild import rebuild, verify, whole_range
from schemas.db.connections import connect
from schemas.times.slots import width_changes
from schemas.times.time_ranges import TimeRange
from tests.examples import share
from tests.integration.mortal import Fuse, mortal_engine
from tests.integration.published import value
from tests.integration.recomputed import assert_energy_equals_a_rebuild, assert_equals_a_rebuild
from tests.integration.whole_system import (
    EDGES,
    EVERYTHING,
    NOW,
    WholeSystem,
    check_each,
    check_history,
    check_latest,
)
from tests.oracle.messages import DEFAULT, Published, Sent, next_message

STEPS = 15
LANES = tuple(job for job in schedule(Cadence()) if job.has_backlog)
PRIVATE_DAYS = [date(2031, 1, 1) + timedelta(days=number) for number in range(3)]

lanes = st.sampled_from(LANES)
seeds = st.integers(0, 2**32 - 1)


class Disorder(RuleBasedStateMachine):
    """Traffic of any age, cycles, crashes, rebuilds and partitions that come and go."""

    system: WholeSystem
    mortal: Engine
    fuse: Fuse
    admin: psycopg.Connection[Any]

    @initialize()
    def start_empty(self) -> None:
        self.system.empty()
        self.sent: list[Sent] = []
        self.published: list[Published] = []

    @rule(seed=seeds, messages=st.integers(1, 40))
    def messages_come(self, seed: int, messages: int) -> None:
        chance = Random(seed)
        new = [next_message(chance, DEFAULT, self.sent) for _ in range(messages)]
        self.sent += new
        self.system.ingest([each.published for each in new])
        self.published += [each.published for each in new]

    @rule(seed=seeds, messages=st.integers(1, 20))
    def some_come_again(self, seed: int, messages: int) -> None:
        if self.published:
            self.system.ingest(Random(seed).choices(self.published, k=messages))

    @rule(lane=lanes)
    def a_cycle(self, lane: Any) -> None:
        Runner(self.system.engine, lambda: NOW).run(lane)

    @rule(first=lanes, second=lanes)
    def two_workers_at_once(self, first: Any, second: Any) -> None:
        run = Runner(self.system.engine, lambda: NOW).run
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(run, (first, second)))

    @rule(lane=lanes, statement=st.integers(1, 40))
    def a_crash(self, lane: Any, statement: int) -> None:
        """At any statement, of the first step or of the second; with a late one, after all of them."""
        self._crash(lambda: Runner(self.mortal, lambda: NOW).run(lane), statement)

    @rule(statement=st.integers(1, 60))
    def a_crash_in_a_rebuild(self, statement: int) -> None:
        self._crash(lambda: list(rebuild(self.mortal, self._everything())), statement)

    @rule(days=st.sampled_from((1, 3, 40)))
    def a_rebuild_beside_a_cycle(self, days: int) -> None:
        within = TimeRange(NOW - timedelta(days=days), NOW)
        with ThreadPoolExecutor(2) as pool:
            cycle = pool.submit(Runner(self.system.engine, lambda: NOW).run, LANES[days % 2])
            chunks = list(rebuild(self.system.engine, within))
            cycle.result()
        assert all(chunk.differences.is_empty() for chunk in chunks)

    @rule(seed=seeds)
    def a_summary_that_was_damaged_is_rebuilt(self, seed: int) -> None:
        """Rows at random are missing; Citus deletes none by a volatile function."""
        for table in ("ven_history", "network_history", "load_snapshots"):
            chance = f"mod(hashtextextended({table}::text, {seed}), 10)"
            self.admin.execute(f"DELETE FROM {table} WHERE {chance} BETWEEN -4 AND 0".encode())
        list(rebuild(self.system.engine, self._everything()))

    @rule(minutes=st.sampled_from((5, 15, 30)), back=st.integers(0, 4 * 48), seed=seeds)
    def a_meter_turns_out_slower(self, minutes: int, back: int, seed: int) -> None:
        """Or faster: from any half-hour on, whatever is pending."""
        if vens := sorted(self.system.oracle.known_vens()):
            ven_id, since = Random(seed).choice(vens), NOW - back * timedelta(minutes=30)
            with self.system.engine.begin() as connection:
                for statement in width_changes(ven_id, since, minutes * 60, "people", NOW):
                    connection.execute(statement)
            self.system.oracle.set_slot_width(ven_id, since, minutes * 60)

    @rule(minutes=st.sampled_from((15, 30)), statement=st.integers(1, 6))
    def a_crash_in_a_change_of_width(self, minutes: int, statement: int) -> None:
        """With a late statement, after all of them: then the width holds."""

        def change() -> None:
            with self.mortal.begin() as connection:
                for each in width_changes("ven-1", NOW - timedelta(days=1), minutes * 60, "people", NOW):
                    connection.execute(each)
            self.system.oracle.set_slot_width("ven-1", NOW - timedelta(days=1), minutes * 60)

        self._crash(change, statement)

    @rule(days=st.lists(st.sampled_from(PRIVATE_DAYS)))
    def partitions_come(self, days: list[date]) -> None:
        self.admin.execute("SELECT ensure_raw_partitions(%s::date[])", [days])

    @rule()
    def empty_partitions_go(self) -> None:
        """Also days that ingest believes to be there."""
        for (name,) in self.admin.execute(
            "SELECT format('%I.%I', home, name) FROM unnest(ARRAY['ven_telemetry', 'ven_load_samples',"
            " 'ven_load_descriptions']::regclass[]) parent, raw_partitions(parent)"
            " WHERE NOT is_default AND name ~ '_p[0-9]'"
        ).fetchall():
            if not value(self.admin, f"SELECT count(*) FROM {name}"):
                self.admin.execute(f"DROP TABLE {name}".encode())

    @rule(steps=st.integers(1, 8))
    def partitions_are_arranged(self, steps: int) -> None:
        """Rows move from the default partition, and from days to their year."""
        for _ in range(steps):
            with self.system.engine.begin() as connection:
                arrange_partitions(connection, NOW)

    @rule(statement=st.integers(1, 30))
    def a_crash_while_partitions_are_arranged(self, statement: int) -> None:
        def arrange() -> None:
            for _ in range(3):
                with self.mortal.begin() as connection:
                    arrange_partitions(connection, NOW)

        self._crash(arrange, statement)

    @rule()
    def the_summary_is_verified(self) -> None:
        """At any time, whatever is pending."""
        assert [chunk.differences.rows() for chunk in verify(self.system.engine, self._everything())] == [[]]

    @rule()
    def each_ven_is_fresh(self) -> None:
        """At any time, whatever is pending."""
        check_each(self.system)

    def teardown(self) -> None:
        if not hasattr(self, "sent"):
            return
        self.system.catch_up()
        check_latest(self.system)
        check_history(self.system, EVERYTHING, "5m", "sum")
        check_history(self.system, EDGES[1], "1h", "energy")
        check_history(self.system, EVERYTHING, "5m", "energy")
        assert_equals_a_rebuild(self.admin)
        assert_energy_equals_a_rebuild(self.admin)
        self.the_summary_is_verified()

    def _everything(self) -> TimeRange:
        with self.system.engine.connect() as connection:
            return whole_range(connection, NOW - timedelta(days=60), NOW + timedelta(hours=1)) or TimeRange(
                NOW, NOW
            )

    def _crash(self, doing: Callable[[], object], statement: int) -> None:
        self.fuse.left = statement
        try:
            doing()
        except (DBAPIError, psycopg.Error):
            assert self.fuse.left <= 0
        finally:
            self.fuse.left = 0


@pytest.fixture
def machine(engine: Engine, database_url: str) -> Iterator[type[Disorder]]:
    system = WholeSystem(engine, database_url)
    mortal_one, its_fuse = mortal_engine(database_url)
    with connect(database_url, "tests") as connection:

        class Here(Disorder):
            mortal, fuse, admin = mortal_one, its_fuse, connection

        Here.system = system
        yield Here
    mortal_one.dispose()
    system.close()


@pytest.mark.thorough
def test_any_order_of_events(machine: type[Disorder]) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(max_examples=share(12), stateful_step_count=STEPS),
    )
