"""`python -m ingest`: stores MQTT messages and reports of OpenADR clients in the raw tables."""

import argparse
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import psycopg
import structlog
from msgspec import Struct

from ingest.commands.dispatcher import Dispatcher
from ingest.commands.outbox import Outbox
from ingest.credentials.dispatcher import CredentialDispatcher
from ingest.credentials.outbox import CredentialOutbox
from ingest.decoding.messages import Received
from ingest.metrics import IngestMetrics
from ingest.openadr.drain import ReportDrain
from ingest.openadr.inbox import ReportInbox
from ingest.openadr.messages import MessageOutbox
from ingest.openadr.notifier import MqttNotifier
from ingest.receiving.retirement import RetiringSubscriber
from ingest.receiving.subscriber import Subscriber
from ingest.settings import IngestSettings, Tolerance
from ingest.storing.batch import FAULT, Batch
from ingest.storing.quotas import Quotas
from ingest.storing.rejected import count_by_reason, replay
from ingest.storing.store import Store
from ingest.storing.worker import Metrics, WakeableSource, Worker
from ingest.writers.pool import WriterPool
from ingest.writers.source import PipeSource, ReportedMetrics, ReportSender
from ingest.writers.suspects import Suspects
from ingest.writers.writer import WriterContext
from schemas.db.answers import AnswerMonitor
from schemas.db.clock import DatabaseClock, StepDetector
from schemas.db.connections import connect
from schemas.db.watching import DatabaseWatch
from schemas.programs.command_line import print_warning, program_parser
from schemas.programs.cores import processes_for
from schemas.programs.exits import cannot_listen, end_with_failure, run_program
from schemas.programs.logs import configure_logs
from schemas.programs.monitoring import Trouble, first_trouble, serve_monitoring
from schemas.programs.settings import ProgramSettings
from schemas.programs.variables import warn_of_unknown_variables
from schemas.tables.ledger import REPLAY

GARBAGE_THRESHOLDS = (100_000, 20, 20)
"""New objects before a collection of them; collections before one of older objects."""

WRITERS_ENDED = "each process that was to store it ended"


class Database(Struct, frozen=True):
    """What all threads of this process share of the database: its URL, its clock, and its health."""

    url: str
    clock: DatabaseClock
    monitor: AnswerMonitor
    watch: DatabaseWatch

    @classmethod
    def at(cls, url: str) -> "Database":
        clock, monitor = DatabaseClock(_now, time.monotonic), AnswerMonitor(time.monotonic)
        watch = DatabaseWatch(
            lambda: connect(url, "ingest-watch", monitor=monitor),
            monitor,
            clock,
            StepDetector(_now, time.monotonic),
            structlog.get_logger().warning,
        )
        return cls(url, clock, monitor, watch)

    def connect(self, program: str) -> psycopg.Connection:
        return connect(self.url, program, monitor=self.monitor)


def main(arguments: list[str]) -> None:
    options = _parser().parse_args(arguments)
    match options.command:
        case "rejected":
            _rejected(options)
        case "retire":
            _retire()
        case "writer":
            _write(options.number, options.socket)
        case _:
            _serve()


def _parser() -> argparse.ArgumentParser:
    parser = program_parser(
        "ingest",
        "Take what VENs report over MQTT, store it, and publish commands to them.",
        [IngestSettings],
        [
            "",
            "rejected --replay    # store rejected messages that can be accepted now",
            "retire               # before a worker's client id is abandoned",
        ],
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="take messages from the broker (the default)")
    commands.add_parser("retire", help="store what the broker holds for MQTT_CLIENT_ID, and end its session")
    writer = commands.add_parser("writer")  # started by `serve`, not by people
    writer.add_argument("number", type=int)
    writer.add_argument("socket", type=int)
    rejected = commands.add_parser("rejected", help="count rejected messages by reason, or replay them")
    rejected.add_argument("--replay", action="store_true", help="store what can be accepted now")
    rejected.add_argument("--reason", help="replay only messages rejected for this reason")
    return parser


def _rejected(options: argparse.Namespace) -> None:
    settings = ProgramSettings.from_environment()
    warn_of_unknown_variables(os.environ, print_warning)
    with connect(settings.database_url, "rejected") as connection:
        if options.replay:
            _replay(connection, options.reason)
        for each in count_by_reason(connection):
            print(each)


def _replay(connection: psycopg.Connection, reason: str | None) -> None:
    tried = accepted = 0
    tolerance = Tolerance.from_environment()
    max_ahead, quotas = timedelta(seconds=tolerance.max_ahead_s), Quotas(tolerance.limits)
    store = Store(connection, REPLAY)
    store.refresh(quotas)
    for block_tried, block_accepted in replay(connection, store, max_ahead, reason, quotas):
        tried, accepted = tried + block_tried, accepted + block_accepted
        print(f"{accepted} of {tried} accepted", file=sys.stderr)


def _serve() -> None:
    settings = _settings()
    stopping = threading.Event()
    database = Database.at(settings.database_url)
    database.watch.start()
    metrics = IngestMetrics(database.clock)
    on_change = partial(_mark, metrics, settings.ready_file)
    subscriber = Subscriber(settings, database.clock, on_change, metrics.session_lost)
    if processes_for(settings.workers) == 1:
        worker = _worker(settings, database.connect, subscriber, metrics, stopping)
        run, troubles = worker.run, [database.watch.trouble, metrics.trouble]
    else:
        pool = _pool(settings, database, subscriber, metrics, stopping)
        run, troubles = pool.run, [database.watch.trouble, metrics.trouble, pool.trouble]
    monitoring = partial(
        _serve_monitoring, metrics, first_trouble(*troubles), settings.http_port, settings.http_host
    )
    with (
        _dispatching(settings, database, metrics),
        _giving_credentials(settings, database),
        _draining_reports(settings, database, metrics),
        _notifying(settings, database),
    ):
        _work(subscriber, run, stopping, monitoring if settings.http_port else None)


SideWork = AbstractContextManager[object]


def _dispatching(settings: IngestSettings, database: Database, metrics: IngestMetrics) -> SideWork:
    """Publish commands on a thread of their own, so that they do not delay telemetry."""
    if settings.command_dispatcher == "off":
        return nullcontext()
    holder = f"{settings.mqtt_client_id}/{uuid.uuid4().hex[:8]}"
    return Dispatcher(settings, lambda: Outbox(database.connect("commands"), holder), database.clock, metrics)


def _giving_credentials(settings: IngestSettings, database: Database) -> SideWork:
    """Apply VENs' credentials at the broker on a thread of their own, given an administrator's login."""
    if settings.mqtt_admin_url is None:
        return nullcontext()
    return CredentialDispatcher(
        settings, lambda: CredentialOutbox(database.connect("credentials")), database.clock
    )


def _draining_reports(settings: IngestSettings, database: Database, metrics: IngestMetrics) -> SideWork:
    """Store reports that serving has accepted, on a thread of their own."""
    quotas, max_ahead = Quotas(settings.limits), timedelta(seconds=settings.max_ahead_s)
    worker = f"{settings.mqtt_client_id}/reports"
    return ReportDrain(
        lambda: ReportInbox(database.connect("reports"), worker, max_ahead, quotas), database.clock, metrics
    )


def _notifying(settings: IngestSettings, database: Database) -> SideWork:
    """Publish OpenADR notifications on a thread of their own, where clients may use the broker."""
    if not settings.openadr_mqtt_uris:
        return nullcontext()
    return MqttNotifier(settings, lambda: MessageOutbox(database.connect("notifications")), database.clock)


def _retire() -> None:
    settings = _settings()
    stopping = threading.Event()
    database = Database.at(settings.database_url)
    database.watch.start()
    subscriber = RetiringSubscriber(settings, database.clock, stopping.set)
    metrics = IngestMetrics(database.clock)
    worker = _worker(settings, database.connect, subscriber, metrics, stopping)
    trouble = first_trouble(database.watch.trouble, metrics.trouble)
    monitoring = partial(_serve_monitoring, metrics, trouble, settings.http_port, settings.http_host)
    _work(subscriber, worker.run, stopping, monitoring if settings.http_port else None)
    if not subscriber.is_drained:
        end_with_failure("Stopped before the session was drained: run it again.")
    subscriber.end_session()
    structlog.get_logger().info("retired", client_id=settings.mqtt_client_id)


def _settings() -> IngestSettings:
    settings = IngestSettings.from_environment()
    configure_logs(settings.log_level, settings.log_format)
    warn_of_unknown_variables(os.environ, structlog.get_logger().warning)
    return settings


def _work(
    subscriber: Subscriber,
    run: Callable[[], None],
    stopping: threading.Event,
    serve_health: Callable[[], None] | None,
) -> None:
    """Move messages until a signal or a failed thread ends it; exits with 1 if a thread has failed."""
    failures = _stop_at_failure_of_a_thread(stopping)
    for stop in (signal.SIGTERM, signal.SIGINT):
        signal.signal(stop, lambda *_: stopping.set())
    if serve_health is not None:
        serve_health()
    _tune_garbage_collection()
    subscriber.start()
    try:
        run()
    finally:
        stopping.set()
        subscriber.stop()  # else its thread would keep the process alive after the worker failed
    if failures:
        sys.exit(1)


def _tune_garbage_collection() -> None:
    """Exempt what the imports created, which lives as long as the process, and collect less often.

    Rows and messages are in no reference cycles, but there are tens of thousands of them at a time: with the
    default thresholds the collector takes a twentieth of the time of a writer.
    """
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)


def _pool(
    settings: IngestSettings,
    database: Database,
    subscriber: Subscriber,
    metrics: IngestMetrics,
    stopping: threading.Event,
) -> WriterPool:
    """Return several writer processes, which share the broker's receive maximum."""
    count = processes_for(settings.workers)
    context = WriterContext(
        subscriber,
        _launch_writer,
        metrics,
        Suspects(),
        partial(_reject, database, settings.mqtt_client_id),
        stopping,
        most_messages=max(settings.mqtt_receive_maximum // count, 1),
    )
    return WriterPool(count, context)


def _launch_writer(number: int, theirs: socket.socket) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-m", "ingest", "writer", str(number), str(theirs.fileno())]
    return subprocess.Popen(words, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])  # noqa: S603 - ours


def _reject(database: Database, worker: str, message: Received) -> bool:
    """Move a message to the rejected messages; returns whether that worked, else it is retried."""
    try:
        with database.connect("ingest") as connection:
            Store(connection, worker).write(Batch.rejecting(message, FAULT, WRITERS_ENDED))
    except Exception as error:  # noqa: BLE001 - of any kind: it must not end the thread of a writer
        structlog.get_logger().error("not_rejected", topic=message.topic, error=str(error).strip())
        return False
    return True


def _write(number: int, descriptor: int) -> None:
    """Store what the receiving process sends, until it ends or stops."""
    settings = IngestSettings.from_environment()
    configure_logs(settings.log_level, settings.log_format)
    stopping = threading.Event()
    failures = _stop_at_failure_of_a_thread(stopping)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at a terminal the receiving process gets it, too
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    monitor = AnswerMonitor(time.monotonic)
    with socket.socket(fileno=descriptor) as receiving:
        reporter = ReportSender(receiving)
        source = PipeSource(receiving, reporter, stopping.set)
        worker = _worker(
            settings,
            lambda program: connect(settings.database_url, program, monitor=monitor),
            source,
            ReportedMetrics(reporter),
            stopping,
            name=f"{settings.mqtt_client_id}/{number}",
        )
        _tune_garbage_collection()
        source.start()
        worker.run()
    if failures:
        sys.exit(1)


def _now() -> datetime:
    return datetime.now(UTC)


def _worker(
    settings: IngestSettings,
    open_connection: Callable[[str], psycopg.Connection],
    source: WakeableSource,
    metrics: Metrics,
    stopping: threading.Event,
    name: str | None = None,
) -> Worker:
    """A worker; `name` is that of the ledger, if not the client id."""
    return Worker(
        source,
        lambda: Store(open_connection("ingest"), name or settings.mqtt_client_id),
        stopping,
        batch_messages=settings.batch_messages,
        max_ahead=timedelta(seconds=settings.max_ahead_s),
        metrics=metrics,
        quotas=Quotas(settings.limits),
    )


def _serve_monitoring(metrics: IngestMetrics, trouble: Trouble, port: int, host: str) -> None:
    try:
        serve_monitoring(metrics.registry, trouble, port, host)
    except OSError as error:
        raise cannot_listen("INGEST_HTTP_PORT", host, port, error) from None


def _stop_at_failure_of_a_thread(stopping: threading.Event) -> list[threading.ExceptHookArgs]:
    """End the process when a thread fails: the supervisor then restarts it instead of it waiting for ever."""
    failures: list[threading.ExceptHookArgs] = []

    def fail(failure: threading.ExceptHookArgs) -> None:
        failures.append(failure)
        structlog.get_logger().error("thread_failed", exc_info=failure.exc_value)
        stopping.set()

    threading.excepthook = fail
    return failures


def _mark(metrics: IngestMetrics, ready_file: Path | None, trouble: str | None) -> None:
    """Report whether messages can arrive, by `/health` and by the ready file."""
    metrics.subscribed(trouble)
    if ready_file is None:
        return
    if trouble is None:
        ready_file.touch()
    else:
        ready_file.unlink(missing_ok=True)


if __name__ == "__main__":
    run_program(lambda: main(sys.argv[1:]))
