"""Settling events: what each delivered is written down, and again beside it when data come that change it.

A revision is never altered. It holds every baseline, of every participant and of the portfolio. What comes
late is looked for through the ledger: a batch that brought samples of the event's hours, or of the same hours
of a similar day, is worth a second look, and only a figure that changes beyond rounding makes a revision.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

import msgspec
import polars as pl
import structlog
from msgspec import Struct
from sqlalchemy import Connection, Table

from jobs.archive.progress import readable_since
from jobs.events.measuring import Rules, measurements, portfolio
from jobs.events.notifying import NO_BROKER, Notifier
from jobs.events.records import DatabaseRecords, MeasuredEvent, Records
from jobs.events.settlement_reports import SettlementReports
from jobs.queries.events import settlement as settlement_queries
from jobs.queries.storage import archive as archive_queries
from jobs.summaries.rows import append, fetch
from jobs.transforms.events.performance import differ
from schemas.archive.folder import ArchiveFolder
from schemas.baseline_model.days import AROUND, windows
from schemas.baseline_model.prediction import days_of
from schemas.baseline_model.temperatures import temperature_range
from schemas.db import channels, locks
from schemas.db.frame_models import pa
from schemas.db.horizons import dropped_before
from schemas.demand_response import temperatures
from schemas.demand_response.baselines import BY_TEMPERATURE
from schemas.tables.events import (
    EventSettlementFrame,
    VenSettlementFrame,
    event_settlements,
    ven_settlements,
)
from schemas.tables.history import SLOT_S
from schemas.tables.metadata import Frame, Utc
from schemas.times.time_ranges import TimeRange

LOOK_EVERY = timedelta(minutes=10)
"""How often a settled event is looked at again."""

MARGIN = timedelta(minutes=15)
"""So much later than it was received a batch may be stored and consumed, and still not be missed."""

BATCHES_AT_ONCE = 10_000


class ArrivalFrame(Frame):
    """Batches, newest first."""

    batch_id: int
    received_at: Utc
    first_ts: Utc = pa.Field(nullable=True)
    last_ts: Utc = pa.Field(nullable=True)


class Settled(Struct, frozen=True):
    """The newest revision of an event, and whether it has just been made."""

    event: MeasuredEvent
    revision: int
    delivered_kw: float | None
    is_new: bool


def settle_ended(
    connection: Connection,
    now: datetime,
    rules: Rules,
    archive: ArchiveFolder | None = None,
    notifier: Notifier = NO_BROKER,
) -> int:
    """Settle the next event that has been over for long enough; returns how many: one or none.

    It waits for the history lane to have consumed what was received by then. Of two schedulers one
    settles it, and the other finds it done.
    """
    if not _is_mine(connection):
        return 0
    row = settlement_queries.next_unsettled_event(now - rules.grace).first(connection)
    if row is None:
        return 0
    event = MeasuredEvent.of(row)
    if connection.execute(settlement_queries.is_behind(event.window.end + rules.grace)).scalar_one():
        return 0
    _revise(connection, event, now, rules, DatabaseRecords(connection, archive), notifier)
    _note_answers(connection, event.event_id, now)
    return 1


def revise_settled(
    connection: Connection,
    now: datetime,
    rules: Rules,
    archive: ArchiveFolder | None = None,
    notifier: Notifier = NO_BROKER,
) -> int:
    """Check the settled event whose last check is the oldest; returns the number of revisions made."""
    if not _is_mine(connection):
        return 0
    row = settlement_queries.next_settled_event(now - rules.revise_for).first(connection)
    if row is None or row.looked_at > now - LOOK_EVERY:
        return 0
    event = MeasuredEvent.of(row)
    is_new = (
        _is_touched(connection, event, row.looked_at, now, rules, archive)
        and _revise(connection, event, now, rules, DatabaseRecords(connection, archive), notifier).is_new
    )
    connection.execute(settlement_queries.looked(event.event_id, now))
    return int(is_new)


def settle(
    connection: Connection,
    now: datetime,
    rules: Rules,
    event_id: str,
    records: Records | None = None,
    notifier: Notifier = NO_BROKER,
) -> Settled | None:
    """Settle an event now, or look whether its figures still hold; None if there is nothing to measure.

    Args:
        connection: in a transaction.
        now: the time of a new revision.
        rules: by which it is measured.
        event_id: of the event.
        records: of which it is made; null: those of the database.
        notifier: of the reports that are made.
    """
    connection.execute(locks.exclusive(locks.SETTLEMENT))
    row = settlement_queries.ended_event(event_id).first(connection)
    if row is None:
        return None
    return _revise(
        connection, MeasuredEvent.of(row), now, rules, records or DatabaseRecords(connection), notifier
    )


def _is_mine(connection: Connection) -> bool:
    return bool(connection.execute(locks.try_exclusive(locks.SETTLEMENT)).scalar_one())


def _revise(
    connection: Connection,
    event: MeasuredEvent,
    now: datetime,
    rules: Rules,
    records: Records,
    notifier: Notifier,
) -> Settled:
    """Measure an event, and write down what differs from the newest revision, if anything does.

    Rows and reports of VENs are written as these are measured, so that not all of them are held; where
    nothing differs, they are taken back.
    """
    event_id = event.event_id
    last = connection.execute(settlement_queries.latest_revision(event_id)).scalar_one()
    revision = (last or 0) + 1
    attempt = connection.begin_nested()
    reports = SettlementReports.requested(connection, event, revision, now, rules, notifier)
    differs, sums = last is None, []
    cells = () if reports is None else reports.cells
    for part in measurements(records, event, rules, cells):
        differs = differs or _vens_differ(connection, event_id, revision - 1, part.vens)
        _write(connection, ven_settlements, event_id, revision, part.vens, now)
        if reports is not None:
            reports.add(part)
        sums.append(msgspec.structs.replace(part, vens=part.vens.clear(), energies=None))
    figures = portfolio(event, rules, sums)
    delivered_kw = figures.filter(baseline=rules.primary).item(0, "delivered_kw")
    if not (differs or _portfolio_differs(connection, event_id, revision - 1, figures)):
        attempt.rollback()
        return Settled(event, revision - 1, delivered_kw, is_new=False)
    _write(connection, event_settlements, event_id, revision, figures, now)
    if reports is not None:
        reports.finish(figures)
    attempt.commit()
    connection.execute(settlement_queries.set_actual(event_id, delivered_kw))
    connection.execute(channels.notify(channels.EVENTS, event_id))
    structlog.get_logger().info(
        "event_settled", event_id=event_id, revision=revision, delivered_kw=delivered_kw
    )
    return Settled(event, revision, delivered_kw, is_new=True)


def _note_answers(connection: Connection, event_id: str, now: datetime) -> None:
    """How many VENs answered, and how fast: also of answers that came at the event's end."""
    answered = settlement_queries.responses(event_id).one(connection)
    mean_ms = None if answered.mean_ms is None else float(answered.mean_ms)
    responses = {"vens_responding": answered.vens, "avg_response_ms": mean_ms}
    connection.execute(
        settlement_queries.put_progress({"event_id": event_id, **responses, "refreshed_at": now})
    )


def _portfolio_differs(connection: Connection, event_id: str, revision: int, figures: pl.DataFrame) -> bool:
    before = fetch(connection, settlement_queries.portfolio_of(event_id, revision), EventSettlementFrame)
    return differ(before, figures, ["baseline"])


def _vens_differ(connection: Connection, event_id: str, revision: int, vens: pl.DataFrame) -> bool:
    ven_ids = vens.get_column("ven_id").unique().sort().to_list()
    query = settlement_queries.vens_of(event_id, revision, ven_ids)
    return differ(fetch(connection, query, VenSettlementFrame), vens, ["ven_id", "baseline"])


def _write(
    connection: Connection, table: Table, event_id: str, revision: int, figures: pl.DataFrame, now: datetime
) -> None:
    stamp = [
        pl.lit(event_id).alias("event_id"),
        pl.lit(revision, pl.Int32).alias("revision"),
        pl.lit(now).cast(pl.Datetime("us", "UTC")).alias("settled_at"),
        pl.col("days_used").cast(pl.Int32),
    ]
    append(connection, figures.with_columns(stamp), table)


def _is_touched(
    connection: Connection,
    event: MeasuredEvent,
    looked_at: datetime,
    now: datetime,
    rules: Rules,
    archive: ArchiveFolder | None,
) -> bool:
    """Whether anything has come since the last look that could change the figures.

    Where retention has deleted what they were computed from, they stay.
    """
    calendar = rules.calendar(event.window.start)
    ranges = days_of(event.occasion, calendar, rules.computed).needed()
    if _is_forgotten(connection, ranges[0], event.window, archive):
        return False
    complete_at = windows(event.occasion)[AROUND][-1].end + rules.grace
    if looked_at < complete_at <= now:
        return True  # the hours after the event were still to come
    today = [window for part in windows(event.occasion).values() for window in part]
    earlier = (TimeRange(part.start, min(part.end, event.window.start)) for part in ranges)
    counted = [*earlier, *(window for window in today if window.end <= looked_at)]
    query = settlement_queries.changed_widths(event.event_id, looked_at - MARGIN, event.window.end)
    if connection.execute(query).scalar_one() or _is_weather_changed(connection, event, looked_at, rules):
        return True
    return _have_rows_come(connection, counted, looked_at - MARGIN)


def _have_rows_come(connection: Connection, counted: list[TimeRange], since: datetime) -> bool:
    """Whether rows of some ranges may have come since a time; late ones of dropped days come when archived.

    The summary has these when the archive has them, which may be long after they were received.
    """
    if connection.execute(archive_queries.has_new_versions(counted, since)).scalar_one():
        return True
    reaches = ((pl.col("first_ts") < part.end) & (pl.col("last_ts") >= part.start) for part in counted)
    is_counted = pl.any_horizontal(*reaches)
    return any(block.filter(is_counted).height for block in _arrivals(connection, since))


def _is_weather_changed(
    connection: Connection, event: MeasuredEvent, looked_at: datetime, rules: Rules
) -> bool:
    """Whether temperatures by which a baseline matches days were imported since the last look."""
    if not BY_TEMPERATURE & set(rules.computed):
        return False
    days = days_of(event.occasion, rules.calendar(event.window.start), rules.computed)
    query = temperatures.changed_temperatures(looked_at - MARGIN, temperature_range(days))
    return connection.execute(query).scalar_one()


def _is_forgotten(
    connection: Connection, earliest: TimeRange, window: TimeRange, archive: ArchiveFolder | None
) -> bool:
    raw_since = readable_since(connection, archive)
    slots_since = connection.execute(dropped_before(SLOT_S)).scalar_one_or_none()
    return (raw_since is not None and raw_since > window.start) or (
        slots_since is not None and slots_since > earliest.start
    )


def _arrivals(connection: Connection, since: datetime) -> Iterator[pl.DataFrame]:
    """Batches received since a time, some at a time; their ids grow with it, but for some seconds."""
    before: int | None = None
    is_last = False
    while not is_last:
        query = settlement_queries.newest_batches(before, BATCHES_AT_ONCE)
        block = fetch(connection, query, ArrivalFrame)
        yield block.filter(pl.col("received_at") > since)
        is_last = block.height < BATCHES_AT_ONCE or block.item(-1, "received_at") < since - MARGIN
        before = None if is_last else int(block.item(-1, "batch_id"))
