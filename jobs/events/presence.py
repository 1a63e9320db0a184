"""Status transitions without a message: a VEN stops reporting, or its telemetry shows that it is online."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import polars as pl
from sqlalchemy import Connection

from jobs.queries.events import presence as presence_queries
from jobs.queries.summaries import merging as merging_queries
from jobs.queries.summaries import summary as summary_queries
from jobs.summaries.models import RecentReportFrame, WatchedVenFrame
from jobs.summaries.rows import fetch, write
from jobs.transforms.events.presence import (
    REPORTS_EACH,
    PresenceTime,
    come_online,
    fallen_silent,
    intervals,
    skewed_presence,
)
from schemas.db import channels, ledger, locks
from schemas.tables.ledger import PRESENCE_WORKER
from schemas.tables.presence import SkewedReportFrame
from schemas.tables.raw import ven_statuses
from schemas.tables.snapshots import VenSnapshotFrame, ven_snapshots
from schemas.times.time_ranges import TimeRange

REACHES = (timedelta(minutes=10), timedelta(hours=2), timedelta(days=1))
"""How far back the last reports are looked for: further only of VENs that have too few so far."""

LATEST = datetime(9999, 12, 31, tzinfo=UTC)
"""Device times may be ahead of the clock."""
DETAILS = {"silent_s": "silentS", "heard_at": "lastHeard", "clock_offset_s": "clockOffsetS"}


def judge_presence(connection: Connection, now: datetime, presence_time: PresenceTime) -> int:
    """Write a status row for each VEN that has fallen silent or was heard; returns how many."""
    connection.execute(locks.exclusive(locks.PRESENCE))
    connection.execute(locks.shared(locks.lane("snapshot")))
    connection.execute(summary_queries.HOLD_RAW)
    heard = _hear_skewed(connection, now, presence_time)
    watched = fetch(
        connection, presence_queries.watched_vens(now - presence_time.at_least, now), WatchedVenFrame
    )
    report_intervals = intervals_of(connection, watched, now)
    transitions = pl.concat(
        [
            fallen_silent(watched, report_intervals, presence_time, now),
            come_online(watched, heard, report_intervals, presence_time, now),
        ]
    )
    if not transitions.is_empty():
        _record(connection, transitions, now)
    return transitions.height


def _hear_skewed(connection: Connection, now: datetime, presence_time: PresenceTime) -> pl.DataFrame:
    """Judge reports that were not received promptly, and keep when their VENs were last heard by them."""
    ven_ids = connection.execute(presence_queries.vens_with_new_skewed_reports()).scalars().all()
    if ven_ids:
        connection.execute(presence_queries.drop_older_skewed_reports(ven_ids, REPORTS_EACH))
        connection.execute(presence_queries.mark_judged(ven_ids, now))
    reports = _skewed_reports(connection, ven_ids)
    heard = skewed_presence(reports, intervals_of(connection, reports, now), presence_time)
    _update_latest(connection, heard.select("ven_id", "heard_at"))
    return heard


def intervals_of(connection: Connection, vens: pl.DataFrame, now: datetime) -> pl.DataFrame:
    """The report intervals of VENs, by their last reports."""
    ven_ids = vens.get_column("ven_id").unique().to_list()
    return intervals(_recent_reports(connection, ven_ids, now), _skewed_reports(connection, ven_ids))


def _recent_reports(connection: Connection, ven_ids: list[str], now: datetime) -> pl.DataFrame:
    """The last reports by device time of some VENs, `REPORTS_EACH` of each as far as there are so many."""
    found = [pl.DataFrame(schema=RecentReportFrame.types())]
    until = LATEST
    for reach in REACHES:
        if ven_ids:
            query = presence_queries.reports_within(ven_ids, TimeRange(now - reach, until))
            found.append(fetch(connection, query, RecentReportFrame))
            until = now - reach
            ven_ids = _vens_with_few(pl.concat(found), ven_ids)
    return pl.concat(found).sort("ven_id", "ts").group_by("ven_id", maintain_order=True).tail(REPORTS_EACH)


def _vens_with_few(reports: pl.DataFrame, ven_ids: list[str]) -> list[str]:
    counts = reports.group_by("ven_id").len().filter(pl.col("len") >= REPORTS_EACH)
    return sorted(set(ven_ids) - set(counts.get_column("ven_id")))


def _skewed_reports(connection: Connection, ven_ids: Sequence[str]) -> pl.DataFrame:
    return fetch(connection, presence_queries.skewed_reports_of(ven_ids), SkewedReportFrame)


def _record(connection: Connection, transitions: pl.DataFrame, now: datetime) -> None:
    """As a batch of the ledger, like statuses from VENs; and at once in the snapshot, so that nobody is
    judged twice for the same silence.
    """
    batch_id = connection.execute(
        ledger.open_status_batch(PRESENCE_WORKER, transitions.height, now)
    ).scalar_one()
    rows = transitions.with_columns(
        pl.Series("details", map(_details, transitions.iter_rows(named=True)), pl.String),
        pl.lit(now).cast(pl.Datetime("us", "UTC")).alias("received_at"),
        pl.lit(batch_id, pl.Int64).alias("batch_id"),
    )
    write(connection, rows, ven_statuses, merging_queries.insert_missing)
    connection.execute(ledger.queue_batch(batch_id, except_lane="snapshot"))
    _update_latest(connection, rows.select("ven_id", "status", pl.col("ts").alias("status_ts")))
    connection.execute(channels.notify(channels.TOTALS))


def _update_latest(connection: Connection, latest: pl.DataFrame) -> None:
    """Some columns of `ven_snapshots`, where they are newer than what is there."""
    missing = [
        pl.lit(None, dtype).alias(name)
        for name, dtype in VenSnapshotFrame.types().items()
        if name not in latest.columns
    ]
    write(connection, latest.with_columns(missing), ven_snapshots, merging_queries.merge_latest_vens)


def _details(transition: dict[str, object]) -> str:
    details = {"reason": transition["reason"]} | {key: transition[name] for name, key in DETAILS.items()}
    return msgspec.json.encode({key: value for key, value in details.items() if value is not None}).decode()
