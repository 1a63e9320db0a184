"""Measures the condition of each kind of alarm: rows and time in, readings out."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from urllib.parse import urlsplit

import polars as pl
from sqlalchemy import Connection

from jobs.alarms.rules import AlarmLimits, AlarmReading
from jobs.queries import alarms as queries
from jobs.queries import webhooks as webhook_queries
from jobs.queries.alarms import OpenAlarm
from jobs.running.successes import RECORDED_EVERY_S
from jobs.summaries.rows import fetch
from jobs.transforms.events.presence import PresenceTime, skewed_presence
from schemas.alarms import AlarmKind
from schemas.tables.presence import SkewedReportFrame

Measure = Callable[[Connection, datetime, Sequence[OpenAlarm]], Sequence[AlarmReading]]
"""Also gets the open alarms of its kind: a condition may count from the beginning of an outage."""

REFUSED_WITHIN = timedelta(minutes=5)
CLOCKS_WITHIN = timedelta(minutes=20)
"""Long enough for a VEN that reports every 15 minutes."""

NO_INTERVALS = pl.DataFrame(schema={"ven_id": pl.String, "interval": pl.Duration("us")})
MOST_NAMED = 3
DATABASE = "database"


def measures(limits: AlarmLimits, periods_s: Mapping[str, float]) -> Mapping[AlarmKind, Measure]:
    """Return the measure of each kind.

    Args:
        limits: the thresholds.
        periods_s: how often each job runs.
    """
    return {
        "jobs_late": partial(jobs_late, periods_s=periods_s),
        "vens_offline": partial(vens_offline, within=limits.offline_within),
        "messages_refused": messages_refused,
        "event_underdelivers": partial(events_underdelivering, after=limits.underdelivery_after),
        "clocks_off": partial(clocks_off, offset=limits.clock_offset),
        "disk_full": partial(disks_full, path=limits.disk_path, database_gb=limits.database_gb),
        "ingest_silent": ingest_silent,
        "webhook_disabled": webhooks_disabled,
    }


def jobs_late(
    connection: Connection, now: datetime, _open: Sequence[OpenAlarm], periods_s: Mapping[str, float]
) -> Sequence[AlarmReading]:
    """Measure the delay of the latest job: seconds since its last success, less its period."""
    late_s = {
        row.job: (now - row.succeeded_at).total_seconds() - periods_s[row.job] - RECORDED_EVERY_S
        for row in connection.execute(queries.successes())
        if row.job in periods_s
    }
    latest = sorted((job for job in late_s if late_s[job] > 0), key=lambda job: -late_s[job])
    named = ", ".join(f"{job} by {late_s[job]:.0f} s" for job in latest[:MOST_NAMED])
    more = f", and {len(latest) - MOST_NAMED} more" if latest[MOST_NAMED:] else ""
    value = max(0.0, late_s[latest[0]]) if latest else 0.0
    return [AlarmReading(value, f"Late: {named}{more}.")] if late_s else []


def vens_offline(
    connection: Connection, now: datetime, open_alarms: Sequence[OpenAlarm], within: timedelta
) -> Sequence[AlarmReading]:
    """Measure the percentage of VENs that went offline lately, or since the open alarm began."""
    began_at = min((alarm.raised_at for alarm in open_alarms), default=now)
    row = connection.execute(queries.fallen_offline(began_at - within)).one()
    watched = row.fallen + row.online
    if not watched:
        return []
    percent = 100 * row.fallen / watched
    minutes = (now - began_at + within) / timedelta(minutes=1)
    return [
        AlarmReading(percent, f"{row.fallen} of {watched} VENs went offline within {minutes:.0f} minutes.")
    ]


def messages_refused(
    connection: Connection, now: datetime, _open: Sequence[OpenAlarm]
) -> Sequence[AlarmReading]:
    """Measure rejected messages per minute, over the last five minutes."""
    by_reason = connection.execute(queries.refused_by_reason(now - REFUSED_WITHIN)).all()
    rate = sum(row.messages for row in by_reason) / (REFUSED_WITHIN / timedelta(minutes=1))
    named = ", ".join(f"{row.reason} {row.messages}" for row in by_reason[:MOST_NAMED])
    return [AlarmReading(rate, f"Rejected within 5 minutes: {named}.")]


def events_underdelivering(
    connection: Connection, now: datetime, _open: Sequence[OpenAlarm], after: timedelta
) -> Sequence[AlarmReading]:
    """Measure the shortfall of each running event, percent of its request; unknown in its first minutes."""
    return [
        _shortfall(row.event_id, row.efficiency_percent if now - row.requested_since >= after else None)
        for row in queries.running_events(now).all(connection)
    ]


def _shortfall(event_id: str, efficiency_percent: float | None) -> AlarmReading:
    if efficiency_percent is None:
        return AlarmReading(None, subject=event_id)
    detail = f"Event {event_id!r} delivers {efficiency_percent:.0f} % of its request."
    return AlarmReading(max(0.0, 100 - efficiency_percent), detail, event_id)


def clocks_off(
    connection: Connection, now: datetime, _open: Sequence[OpenAlarm], offset: timedelta
) -> Sequence[AlarmReading]:
    """Measure the percentage of recently heard VENs whose clocks are wrong by more than `offset`.

    A replay is not a wrong clock: three reports have to agree on the offset, as for presence.
    """
    since = now - CLOCKS_WITHIN
    reports = fetch(connection, queries.vens_with_skewed_reports(since), SkewedReportFrame)
    presence = skewed_presence(reports, NO_INTERVALS, PresenceTime(1, offset))
    is_off = (pl.col("heard_at") > since) & pl.col("clock_offset_s").is_not_null()
    behind = set(presence.filter(is_off).get_column("ven_id"))
    wrong = behind | set(connection.execute(queries.vens_ahead(since)).scalars())
    vens = max(connection.execute(queries.vens_reporting_since(since)).scalar_one(), len(wrong))
    if not vens:
        return []
    named = ", ".join(sorted(wrong)[:MOST_NAMED])
    detail = f"Clocks of {len(wrong)} of {vens} VENs are wrong by more than {offset.total_seconds():g} s"
    return [AlarmReading(100 * len(wrong) / vens, f"{detail}: {named}, ...")]


def disks_full(
    connection: Connection,
    _now: datetime,
    _open: Sequence[OpenAlarm],
    path: str,
    database_gb: float | None,
) -> Sequence[AlarmReading]:
    """Measure the used percentage of the watched disk, and of the database's size limit."""
    readings = list[AlarmReading]()
    if path:
        usage = shutil.disk_usage(path)
        percent = 100 * usage.used / (usage.used + usage.free)
        readings.append(AlarmReading(percent, f"The disk of {path} has {_gb(usage.free)} left.", path))
    if database_gb is not None:
        used = connection.execute(queries.DATABASE_BYTES).scalar_one()
        detail = f"The database has {_gb(used)} of {database_gb:g} GB."
        readings.append(AlarmReading(100 * used / (database_gb * 1e9), detail, DATABASE))
    return readings


def _gb(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.3g} GB"


def ingest_silent(
    connection: Connection, now: datetime, _open: Sequence[OpenAlarm]
) -> Sequence[AlarmReading]:
    """Measure the seconds since ingest last received anything; no reading before the first message."""
    newest: datetime | None = connection.execute(queries.newest_from_broker()).scalar_one()
    if newest is None:
        return []
    detail = f"Ingest has stored nothing since {newest:%Y-%m-%dT%H:%M:%SZ}: is it, or the broker, down?"
    return [AlarmReading(max(0.0, (now - newest).total_seconds()), detail)]


def webhooks_disabled(
    connection: Connection, _now: datetime, _open: Sequence[OpenAlarm]
) -> Sequence[AlarmReading]:
    """Return 1 for each webhook disabled after failures, until people enable or delete it."""
    return [
        AlarmReading(
            1, f"Nothing is sent to {urlsplit(row.url).netloc} any more: {row.error}", row.webhook_id
        )
        for row in webhook_queries.disabled_webhooks().all(connection)
    ]
