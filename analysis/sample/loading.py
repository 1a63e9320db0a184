"""Load the sample into the tables, through the code that processes real messages."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta

from analysis.sample import scenario
from analysis.sample.simulated_broker import SimulatedBroker
from ingest.commands.message import payload
from ingest.commands.outbox import Outbox
from ingest.commands.states import RetryPolicy, given_up, published
from ingest.decoding.messages import Received
from ingest.storing.batch import Batch
from ingest.storing.store import Store
from jobs.running.runner import Runner
from jobs.running.schedule import schedule
from jobs.settings import Cadence
from local.fleet.telemetry.messages import Arrival
from schemas.db.connections import connect, engine_for
from schemas.times.instants import from_unix
from serving.events.rules import EventRules
from serving.events.service import EventWriter

MAX_AHEAD = timedelta(minutes=5)
BLOCK_SIZE = 2_000
POLICY = RetryPolicy(timedelta(seconds=5), timedelta(minutes=5), most_attempts=10)
ACCEPTED = 0
STEP, HOUR = timedelta(minutes=5), timedelta(hours=1)
FREQUENT_RUNS = scenario.EVENT_DAY + 16 * HOUR, scenario.EVENT_DAY + 19 * HOUR
"""Between these, jobs run every five minutes; else once an hour or a day, enough for histories."""

ON_THE_WAY = timedelta(milliseconds=2)
"""From the outbox to the VENs."""


class Loader:
    """Loads one empty database at the head revision, with a clock that follows the scenario."""

    def __init__(self, database_url: str) -> None:
        self._now = scenario.BEGIN
        self._engine = engine_for(database_url, "sample")
        self._store = Store(connect(database_url, "sample"), "sample")
        self._commands = connect(database_url, "sample")
        self._outbox = Outbox(self._commands, "sample")
        self._runner = Runner(self._engine, self._clock)
        self._events = EventWriter(self._engine, self._clock, EventRules())
        self._jobs = [job for job in schedule(Cadence()) if job.name != "alarms"]  # nobody is on duty
        self._broker = SimulatedBroker()

    def load(self, on_progress: Callable[[datetime], None]) -> None:
        """Load the whole scenario; calls `on_progress` after each moment."""
        for moment in moments():
            self._move_to(moment)
            if moment == scenario.CREATED_AT:
                self._events.create(scenario.EVENT)
            on_progress(moment)
        self._close()

    def _move_to(self, moment: datetime) -> None:
        for block in _in_blocks(self._broker.until(moment)):
            self._store.write(Batch.of(block, MAX_AHEAD))
        self._now = moment
        self._runner.catch_up([job for job in self._jobs if job.has_backlog])
        for job in self._jobs:
            self._runner.run(job)
        self._dispatch()

    def _dispatch(self) -> None:
        """Send due commands, as ingest's dispatcher and a broker would."""
        now = self._now + ON_THE_WAY
        for command in self._outbox.take(now):
            ended = given_up(command, now, POLICY)
            if ended is None:
                self._broker.hear(payload(command, now))
            self._outbox.settle([ended or published(command, ACCEPTED, now, POLICY)])

    def _clock(self) -> datetime:
        return self._now

    def _close(self) -> None:
        self._store.close()
        self._commands.close()
        self._engine.dispose()


def moments() -> Iterator[datetime]:
    """When jobs run: each midnight; on the day of the event each hour, and around it each five minutes."""
    moment = scenario.BEGIN
    while moment < scenario.END:
        is_frequent = FREQUENT_RUNS[0] <= moment < FREQUENT_RUNS[1]
        moment += STEP if is_frequent else HOUR if moment >= scenario.EVENT_DAY else scenario.DAY
        yield moment


def _in_blocks(arrivals: Iterable[Arrival]) -> Iterator[list[Received]]:
    messages = (Received(each.message.topic, each.message.payload, from_unix(each.at)) for each in arrivals)
    block: list[Received] = []
    for message in messages:
        block.append(message)
        if len(block) == BLOCK_SIZE:
            yield block
            block = []
    if block:
        yield block
