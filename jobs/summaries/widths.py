"""Learns slot widths of VENs: records changes, and marks the energies that depend on them as stale."""

from datetime import datetime, timedelta

import polars as pl
import structlog
from sqlalchemy import Connection

from jobs.queries import widths as queries
from jobs.summaries.models import PresentWidthFrame, ReportTimeFrame
from jobs.summaries.rows import fetch
from jobs.transforms.widths import FEWEST_DAYS, learned_widths
from schemas.times.slots import width_changes
from schemas.times.time_ranges import DAY_S, TimeRange, widened

LEARNED = "learned"
LOOK_BACK = timedelta(days=45)
"""How far baselines look back: older energy keeps its widths."""

VENS_AT_ONCE = 500
DAY = timedelta(days=1)


def learn_slot_widths(connection: Connection, now: datetime) -> int:
    """Record the widths of VENs whose reports show another one than recorded; returns how many.

    Widths set by people stay. Only VENs are checked whose number of slots with samples, yesterday, does not
    fit their width.
    """
    midnight = widened(TimeRange(now, now), DAY_S).start
    yesterday = TimeRange(midnight - DAY, midnight)
    doubtful = fetch(connection, queries.doubtful_widths(yesterday), PresentWidthFrame)
    recent = TimeRange(midnight - FEWEST_DAYS * DAY, midnight)
    changed = pl.concat(
        [_learned(connection, some, recent) for some in doubtful.iter_slices(VENS_AT_ONCE)]
        or [doubtful.clear()]
    )
    some = doubtful.join(changed, on="ven_id", how="semi").head(VENS_AT_ONCE)
    learned = _learned(connection, some, TimeRange(midnight - LOOK_BACK, midnight))
    for ven_id, since, width_s in learned.iter_rows():
        for statement in width_changes(ven_id, since, width_s, LEARNED, now):
            connection.execute(statement)
        structlog.get_logger().info("slot_width_learned", ven_id=ven_id, width_s=width_s, since=since)
    return learned.height


def _learned(connection: Connection, present: pl.DataFrame, within: TimeRange) -> pl.DataFrame:
    ven_ids = present.get_column("ven_id").to_list()
    reports = fetch(connection, queries.report_times(ven_ids, within), ReportTimeFrame)
    last_day = pl.lit(within.end - DAY).cast(pl.Datetime("us", "UTC"))
    return learned_widths(reports, present, last_day)
