"""Learns slot widths of VENs: records changes, and marks the energies that depend on them as stale."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from functools import partial

import polars as pl
import structlog
from sqlalchemy import Connection

from jobs.archive.progress import compared_before
from jobs.archive.reading import archived_samples
from jobs.queries.summaries import summary as summary_queries
from jobs.queries.summaries import widths as queries
from jobs.summaries.models import PresentWidthFrame, ReportTimeFrame
from jobs.summaries.rows import fetch
from jobs.transforms.summaries.widths import FEWEST_DAYS, learned_widths
from schemas.archive.folder import ArchiveFolder
from schemas.times.slots import width_changes
from schemas.times.time_ranges import DAY_S, TimeRange, days, widened

LEARNED = "learned"
LOOK_BACK = timedelta(days=45)
"""How far baselines look back: older energy keeps its widths."""

VENS_AT_ONCE = 500
DAY = timedelta(days=1)


def learn_slot_widths(connection: Connection, now: datetime, archive: ArchiveFolder | None = None) -> int:
    """Record the widths of VENs whose reports show another one than recorded; returns how many.

    Widths set by people stay. Only VENs are checked whose number of slots with samples, yesterday, does not
    fit their width.

    Args:
        connection: in a transaction.
        now: widths are learned up to the last midnight.
        archive: has the reports of days that retention has dropped; None if there is none.
    """
    connection.execute(summary_queries.HOLD_RAW)
    read = partial(_report_times, connection, archive)
    midnight = widened(TimeRange(now, now), DAY_S).start
    yesterday = TimeRange(midnight - DAY, midnight)
    doubtful = fetch(connection, queries.doubtful_widths(yesterday), PresentWidthFrame)
    recent = TimeRange(midnight - FEWEST_DAYS * DAY, midnight)
    changed = pl.concat(
        [_learned(read, some, recent) for some in doubtful.iter_slices(VENS_AT_ONCE)] or [doubtful.clear()]
    )
    some = doubtful.join(changed, on="ven_id", how="semi").head(VENS_AT_ONCE)
    learned = _learned(read, some, TimeRange(midnight - LOOK_BACK, midnight))
    for ven_id, since, width_s in learned.iter_rows():
        for statement in width_changes(ven_id, since, width_s, LEARNED, now):
            connection.execute(statement)
        structlog.get_logger().info("slot_width_learned", ven_id=ven_id, width_s=width_s, since=since)
    return learned.height


def _learned(
    read: Callable[[Sequence[str], TimeRange], pl.DataFrame], present: pl.DataFrame, within: TimeRange
) -> pl.DataFrame:
    reports = read(present.get_column("ven_id").to_list(), within)
    last_day = pl.lit(within.end - DAY).cast(pl.Datetime("us", "UTC"))
    return learned_widths(reports, present, last_day)


def _report_times(
    connection: Connection, archive: ArchiveFolder | None, ven_ids: Sequence[str], within: TimeRange
) -> pl.DataFrame:
    """Return when VENs reported their usage; on dropped days, what the archive has."""
    kept_since = within.start if archive is None else max(within.start, compared_before(connection))
    kept = fetch(
        connection, queries.report_times(ven_ids, TimeRange(kept_since, within.end)), ReportTimeFrame
    )
    if archive is None or kept_since == within.start:
        return kept
    archived = (
        archived_samples(connection, archive, ven_ids, part)
        for part in days(TimeRange(within.start, kept_since))
    )
    times = (rows.drop_nulls("used_power_kw").select(kept.columns) for rows in archived)
    return ReportTimeFrame.checked(pl.concat([*times, kept]))
