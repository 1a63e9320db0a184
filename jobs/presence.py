"""Transitions that no VEN announces: it falls silent, or it speaks again."""

from datetime import datetime, timedelta

import msgspec
import polars as pl
from sqlalchemy import Connection

from jobs.models import RecentReportFrame, WatchedVenFrame
from jobs.queries import merging as merging_queries
from jobs.queries import presence as presence_queries
from jobs.rows import fetch, write
from jobs.transforms.presence import Patience, come_back, fallen_silent
from schemas import channels, ledger, locks
from schemas.tables.raw import ven_statuses
from schemas.tables.snapshots import VenSnapshotFrame, ven_snapshots

RECENT = timedelta(days=1)
REPORTS_EACH = 5


def judge_presence(connection: Connection, now: datetime, patience: Patience) -> int:
    """Write a status row for each VEN that has fallen silent or come back; answers their number."""
    connection.execute(locks.exclusive(locks.PRESENCE))
    connection.execute(locks.shared(locks.lane("snapshot")))
    vens = fetch(connection, presence_queries.watched_vens(now - patience.at_least), WatchedVenFrame)
    offline = pl.col("status").eq_missing("offline")
    silent = vens.filter(~offline)
    recent = presence_queries.recent_reports(
        silent.get_column("ven_id").to_list(), now - RECENT, REPORTS_EACH
    )
    reports = fetch(connection, recent, RecentReportFrame)
    transitions = pl.concat([fallen_silent(silent, reports, patience, now), come_back(vens.filter(offline))])
    if not transitions.is_empty():
        _record(connection, transitions, now)
    return transitions.height


def _record(connection: Connection, transitions: pl.DataFrame, now: datetime) -> None:
    """As a batch of the ledger, like statuses from VENs; and at once in the snapshot, so that nobody is
    judged twice for the same silence.
    """
    batch_id = connection.execute(ledger.open_status_batch("presence", transitions.height, now)).scalar_one()
    details = transitions.select("silent_s", "heard_at").to_dicts()
    rows = transitions.with_columns(
        pl.Series("details", [_details(row) for row in details], pl.String),
        pl.lit(now).cast(pl.Datetime("us", "UTC")).alias("received_at"),
        pl.lit(batch_id, pl.Int64).alias("batch_id"),
    )
    write(connection, rows, ven_statuses, merging_queries.insert_missing)
    connection.execute(ledger.queue_batch(batch_id, except_lane="snapshot"))
    latest = rows.select("ven_id", "status", pl.col("ts").alias("status_ts"))
    missing = [
        pl.lit(None, dtype).alias(name)
        for name, dtype in VenSnapshotFrame.types().items()
        if name not in latest.columns
    ]
    write(connection, latest.with_columns(missing), ven_snapshots, merging_queries.merge_latest_vens)
    connection.execute(channels.notify(channels.TOTALS))


def _details(transition: dict[str, object]) -> str:
    reason = "heard again" if transition["silent_s"] is None else "silent"
    stated = {"reason": reason, "silentS": transition["silent_s"], "lastHeard": transition["heard_at"]}
    return msgspec.json.encode({key: value for key, value in stated.items() if value is not None}).decode()
