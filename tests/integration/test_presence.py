"""Telemetry heard live makes a VEN online, silence offline; a replay does neither."""

import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, text

from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from ingest.storing.store import Store
from jobs.events.presence import judge_presence
from jobs.summaries.lanes import consume_snapshot_batches, refresh_totals
from jobs.transforms.events.presence import REPORTS_EACH, PresenceTime
from schemas.db.ledger import open_status_batch, queue_batch
from schemas.tables import ledger, presence, raw, registry, snapshots
from serving.registry import queries as serving_registry
from tests.examples import costly
from tests.oracle.presence import PresenceLoop

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOLD_BATCHES = text(
    "SELECT 1 FROM pending_batches WHERE lane = 'snapshot' AND batch_id = ANY(:held) FOR UPDATE"
)
TOUCHED = (
    registry.vens,
    raw.ven_telemetry,
    raw.ven_statuses,
    ledger.ingest_batches,
    ledger.pending_batches,
    snapshots.ven_snapshots,
    presence.skewed_reports,
)
PRESENCE_TIME = PresenceTime(intervals=3, at_least=timedelta(seconds=60))


class Watch:
    """One VEN, and a clock that the test moves."""

    def __init__(self, engine: Engine, connection: psycopg.Connection) -> None:
        self._engine = engine
        self._connection = connection
        self._store = Store(connection, "tests")

    def start_again(self) -> None:
        with self._engine.begin() as connection:
            for table in TOUCHED:
                connection.execute(delete(table))
        self._store = Store(self._connection, "tests")

    def report(
        self, received_at: datetime, device_time: datetime | None = None, *, consume: bool = True
    ) -> None:
        self.reports([(received_at, device_time or received_at)], consume=consume)

    def reports(self, times: Iterable[tuple[datetime, datetime]], *, consume: bool = True) -> None:
        """Reports in one batch: when each is received, and its device time."""
        self._write([_report(received_at, ts) for received_at, ts in times], consume=consume)

    def status(
        self, word: str, received_at: datetime, device_time: datetime | None = None, *, consume: bool = True
    ) -> None:
        said = {"status": word, "timestamp": (device_time or received_at).timestamp()}
        message = Received("ven/status/house", json.dumps(said).encode(), received_at)
        self._write([message], consume=consume)

    def register(self, status: str, now: datetime, *, in_registry: bool) -> None:
        """As people do: in the ledger, as serving writes it, or beside the registration."""
        with self._engine.begin() as connection:
            connection.execute(serving_registry.add_ven({"ven_id": "house", "created_at": now}))
            if in_registry:
                connection.execute(text("UPDATE vens SET status = :status"), {"status": status})
                return
            batch_id = connection.execute(open_status_batch(serving_registry.WORKER, 1, now)).scalar_one()
            connection.execute(serving_registry.add_status("house", status, now, now, batch_id))
            connection.execute(queue_batch(batch_id, except_lane="snapshot"))
            connection.execute(serving_registry.set_status("house", status, now))

    def judge(self, now: datetime) -> list[tuple[str, str | None]]:
        """Transitions so far: status, and the reason that presence gives."""
        with self._engine.begin() as connection:
            judge_presence(connection, now, PRESENCE_TIME)
        with self._engine.begin() as connection:
            query = "SELECT status, details->>'reason' FROM ven_statuses ORDER BY ts"
            return [(row[0], row[1]) for row in connection.execute(text(query))]

    def details(self) -> list[Any]:
        with self._engine.connect() as connection:
            return list(connection.execute(text("SELECT details FROM ven_statuses ORDER BY ts")).scalars())

    def online_vens(self) -> int:
        with self._engine.begin() as connection:
            refresh_totals(connection, START)
            count = connection.execute(text("SELECT online_vens FROM network_snapshot")).scalar_one()
        return int(count)

    def consume_in_disorder(self, chance: random.Random, now: datetime) -> None:
        """As several workers do: some hold a part of the batches while another consumes the rest."""
        query = text("SELECT batch_id FROM pending_batches WHERE lane = 'snapshot'")
        with self._engine.connect() as connection:
            pending = list(connection.execute(query).scalars())
        chance.shuffle(pending)
        while pending:
            held = pending[: chance.randrange(len(pending))]
            with self._engine.begin() as other, self._engine.begin() as worker:
                other.execute(HOLD_BATCHES, {"held": held})
                consume_snapshot_batches(worker, now)
            pending = held

    def _write(self, messages: list[Received], *, consume: bool) -> None:
        self._store.write(Batch.of(messages, timedelta(minutes=5)))
        if consume:
            with self._engine.begin() as connection:
                consume_snapshot_batches(connection, START)


def _report(received_at: datetime, ts: datetime) -> Received:
    payload = json.dumps({"timestamp": ts.timestamp(), "usedPowerKw": 1.0}).encode()
    return Received("oadr/meter/house", payload, received_at)


@pytest.fixture
def watch(engine: Engine, connection: psycopg.Connection) -> Watch:
    return Watch(engine, connection)


def seconds(count: float) -> timedelta:
    return timedelta(seconds=count)


ONLINE = ("online", "heard")
SILENT = ("offline", "silent")
BACK = ("online", "heard again")


def test_a_ven_that_only_reports_is_online_until_it_falls_silent(watch: Watch) -> None:
    for number in range(4):
        watch.report(START + seconds(5 * number))
    assert watch.judge(START + seconds(15)) == [ONLINE]
    assert watch.judge(START + seconds(15 + 60)) == [ONLINE]
    assert watch.judge(START + seconds(15 + 61)) == [ONLINE, SILENT]
    assert watch.judge(START + seconds(15 + 90)) == [ONLINE, SILENT]
    watch.report(START + seconds(200))
    assert watch.judge(START + seconds(201)) == [ONLINE, SILENT, BACK]
    assert watch.judge(START + seconds(205)) == [ONLINE, SILENT, BACK]


def test_a_slow_reporter_has_three_of_its_intervals(watch: Watch) -> None:
    for number in range(4):
        watch.report(START + seconds(60 * number))
    assert watch.judge(START + seconds(180 + 179)) == [ONLINE]
    assert watch.judge(START + seconds(180 + 181)) == [ONLINE, SILENT]


@pytest.mark.thorough
def test_a_replay_neither_brings_it_back_nor_keeps_it(watch: Watch) -> None:
    """Whether it comes as a burst, message by message, or at twice the speed."""
    watch.report(START)
    assert watch.judge(START + seconds(1)) == [ONLINE]
    for number in range(0, 60, 4):
        watch.report(START + seconds(number), device_time=START - seconds(3600 - 5 * number))
        assert watch.judge(START + seconds(number)) == [ONLINE]
    assert watch.judge(START + seconds(61)) == [ONLINE, SILENT]
    burst = START + seconds(3600)
    watch.reports((burst + seconds(number / 1000), START + seconds(30 + number)) for number in range(50))
    assert watch.judge(burst + seconds(1)) == [ONLINE, SILENT]
    for number in range(8):
        watch.report(burst + seconds(5 * number), device_time=START + seconds(600 + 10 * number))
    assert watch.judge(burst + seconds(40)) == [ONLINE, SILENT]


def test_of_a_ven_that_was_only_replayed_nothing_is_known(watch: Watch) -> None:
    watch.reports((START, START - seconds(86_400 - 5 * number)) for number in range(50))
    assert watch.judge(START + seconds(1)) == []
    assert watch.judge(START + seconds(1000)) == []


@pytest.mark.thorough
@pytest.mark.parametrize("offset_s", [7200, 200, -280, 11 * 86_400])
def test_a_wrong_clock_is_heard_once_three_reports_agree(watch: Watch, offset_s: float) -> None:
    """A device whose clock is behind by hours, or ahead by minutes, and whose network jitters by a second."""
    for number in range(2):
        at = START + seconds(5 * number + number % 2)
        watch.report(at, device_time=START + seconds(5 * number - offset_s))
    assert watch.judge(START + seconds(7)) == []
    watch.report(START + seconds(10), device_time=START + seconds(10 - offset_s))
    assert watch.judge(START + seconds(11)) == [ONLINE]
    assert watch.details()[-1]["clockOffsetS"] == pytest.approx(offset_s)
    for number in range(3, 30):
        watch.report(START + seconds(5 * number), device_time=START + seconds(5 * number - offset_s))
        if number % 9 == 0:
            assert watch.judge(START + seconds(5 * number)) == [ONLINE]
    assert watch.judge(START + seconds(29 * 5)) == [ONLINE]
    assert watch.judge(START + seconds(29 * 5 + 61)) == [ONLINE, SILENT]


@pytest.mark.thorough
def test_a_clock_that_is_set_back_costs_no_presence(watch: Watch) -> None:
    """Its newest reports by device time are not its last: the ones before the change stay ahead of them."""
    for number in range(20):
        watch.report(START + seconds(5 * number))
    for number in range(20, 50):
        watch.report(START + seconds(5 * number), device_time=START + seconds(5 * number - 86_400))
        if number % 5 == 0:
            assert watch.judge(START + seconds(5 * number)) == [ONLINE]


def test_a_slow_ven_is_heard_within_its_own_presence_time(watch: Watch) -> None:
    """A report every quarter of an hour, half a minute to twenty minutes on its way."""
    for number, delay_s in enumerate((90, 1200, 200)):
        at = START + seconds(900 * number)
        watch.report(at + seconds(delay_s), device_time=at)
    assert watch.judge(START + seconds(2101)) == [ONLINE]
    assert watch.judge(START + seconds(2100 + 2699)) == [ONLINE]
    assert watch.judge(START + seconds(2100 + 2701)) == [ONLINE, SILENT]


def test_a_last_will_stands_until_the_next_message(watch: Watch) -> None:
    watch.report(START)
    watch.status("offline", START + seconds(5))
    assert watch.judge(START + seconds(300)) == [("offline", None)]
    watch.report(START + seconds(400))
    assert watch.judge(START + seconds(401)) == [("offline", None), BACK]


def test_who_says_offline_and_goes_on_reporting_is_online(watch: Watch) -> None:
    """Also if its clock is ahead, and with any other status word."""
    watch.report(START)
    watch.status("offline", START + seconds(1), device_time=START + seconds(150))
    assert watch.judge(START + seconds(2)) == [("offline", None)]
    watch.report(START + seconds(6))
    assert watch.judge(START + seconds(7)) == [("offline", None), BACK]
    watch.status("charging", START + seconds(200))
    assert watch.judge(START + seconds(201))[2:] == [("charging", None)]
    watch.report(START + seconds(202))
    assert watch.judge(START + seconds(203))[2:] == [("charging", None), ONLINE]


def test_a_status_is_a_sign_of_life(watch: Watch) -> None:
    """It reconnects, sends its status, and takes a while to send its first report."""
    watch.report(START)
    watch.status("online", START + seconds(600))
    assert watch.judge(START + seconds(601)) == [("online", None)]
    assert watch.judge(START + seconds(661)) == [("online", None), SILENT]


def test_a_replayed_status_is_not(watch: Watch) -> None:
    watch.report(START)
    watch.status("online", START + seconds(600), device_time=START + seconds(1))
    assert watch.judge(START + seconds(601)) == [("online", None), SILENT]


def test_a_clock_ahead_of_ours_cannot_hide_silence(watch: Watch) -> None:
    watch.report(START, device_time=START + seconds(50))
    watch.status("online", START, device_time=START + seconds(250))
    assert watch.judge(START + seconds(61)) == [("online", None), SILENT]
    assert len(watch.judge(START + seconds(70))) == 2


def test_maintenance_is_left_alone(watch: Watch) -> None:
    watch.report(START)
    watch.status("maintenance", START + seconds(1))
    assert watch.judge(START + seconds(1000)) == [("maintenance", None)]
    watch.report(START + seconds(1001))
    assert watch.judge(START + seconds(1002)) == [("maintenance", None)]
    watch.status("offline", START + seconds(1003))
    watch.report(START + seconds(1004))
    assert watch.judge(START + seconds(1005))[1:] == [("offline", None), BACK]


@pytest.mark.parametrize("column", ["ven_snapshots", "vens"])
def test_registered_as_online_and_never_heard(watch: Watch, column: str) -> None:
    """People's word is a status in the ledger; an import may have written it beside the registration."""
    watch.register("online", START, in_registry=column == "vens")
    assert watch.judge(START + seconds(60))[1:] == []
    assert watch.online_vens() == 1
    assert watch.judge(START + seconds(61))[-1] == ("offline", "never heard")
    assert watch.online_vens() == 0
    watch.report(START + seconds(62))
    assert watch.judge(START + seconds(63))[-1] == BACK
    assert watch.online_vens() == 1


def test_who_is_retired_is_not_judged(watch: Watch, engine: Engine) -> None:
    watch.report(START)
    with engine.begin() as connection:
        connection.execute(text("UPDATE vens SET retired_at = now()"))
    assert watch.judge(START + seconds(1)) == []


def test_only_a_few_reports_of_a_replay_are_kept(watch: Watch, engine: Engine) -> None:
    for day in range(3):
        watch.reports((START, START - seconds(86_400 * day + 60 + number)) for number in range(50))
    watch.judge(START + seconds(1))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM skewed_reports")).scalar_one() == REPORTS_EACH


arrivals = st.lists(
    st.tuples(
        st.sampled_from(("report", "report", "report", "online", "offline", "maintenance", "charging")),
        st.sampled_from((0.5, 5, 5, 5, 30, 70, 400)),  # seconds since the arrival before it
        st.sampled_from(
            (0, 0, 0, 2, 9, 30, 100, 3600, 3600, 7200, -40, -250)
        ),  # the clock is behind by so much
        st.integers(1, 3),  # times that presence is judged after it
    ),
    max_size=25,
)


@costly(4)
@given(drawn=arrivals, workers=st.randoms(use_true_random=False))
def test_presence_is_what_the_plain_loop_says(
    watch: Watch, drawn: list[tuple[str, float, float, int]], workers: random.Random
) -> None:
    """However arrivals are divided into batches, and batches among workers that consume them in any order."""
    watch.start_again()
    loop, at = PresenceLoop(intervals=3, at_least_s=60), START
    for word, after_s, behind_s, looks in drawn:
        at += seconds(after_s)
        device_time = at - seconds(behind_s)
        if word == "report":
            loop.report(at, device_time)
            watch.report(at, device_time, consume=False)
        else:
            loop.status(word, at, device_time)
            watch.status(word, at, device_time, consume=False)
        if workers.random() < 0.7:
            watch.consume_in_disorder(workers, at)
            for look in range(looks):
                at += seconds(look * 25)
                loop.judge(at)
                assert watch.judge(at) == loop.transitions()
