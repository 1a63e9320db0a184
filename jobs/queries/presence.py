"""The SQL of presence: VENs whose status may change, and the reports that decide it."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import (
    CTE,
    ColumnElement,
    Delete,
    Select,
    Text,
    Update,
    and_,
    any_,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY

from schemas.db.queries import Relation
from schemas.tables.presence import skewed_reports
from schemas.tables.raw import ven_statuses, ven_telemetry
from schemas.tables.registry import vens
from schemas.tables.snapshots import ven_snapshots
from schemas.times.time_ranges import TimeRange

NOT_EXPECTED = ("offline", "maintenance")
SETTLED = ("online", "maintenance")


def watched_vens(heard_before: datetime, now: datetime) -> Relation:
    """Select VENs that may have fallen silent, or may have been heard after a status other than `online`.

    A VEN that was never heard is watched if it has a status, even one set by people.
    """
    watched = _candidates(heard_before, now)
    last_status = and_(ven_statuses.c.ven_id == watched.c.ven_id, ven_statuses.c.ts == watched.c.status_ts)
    registered_at = case((watched.c.status.is_not(None), watched.c.created_at))
    received_at = func.coalesce(ven_statuses.c.received_at, watched.c.status_ts, registered_at)
    return select(
        watched.c.ven_id,
        watched.c.status,
        watched.c.status_ts,
        received_at.label("status_received_at"),
        watched.c.heard_at,
    ).select_from(watched.outerjoin(ven_statuses, last_status))


def _candidates(heard_before: datetime, now: datetime) -> CTE:
    """Select candidates by the snapshot alone, so that only few statuses' times of receipt are read.

    Only a VEN whose clock is ahead can have been heard after a status that is dated later.
    """
    latest = ven_snapshots.c
    status = func.coalesce(latest.status, vens.c.status)
    is_quiet = or_(latest.heard_at < heard_before, and_(latest.heard_at.is_(None), status.is_not(None)))
    is_heard = or_(
        latest.heard_at > func.coalesce(latest.status_ts, "-infinity"),
        and_(latest.heard_at.is_not(None), latest.status_ts > now),
    )
    return (
        select(vens.c.ven_id, status.label("status"), latest.status_ts, latest.heard_at, vens.c.created_at)
        .select_from(vens.outerjoin(ven_snapshots, latest.ven_id == vens.c.ven_id))
        .where(
            vens.c.retired_at.is_(None),
            or_(
                and_(func.coalesce(status, "").not_in(NOT_EXPECTED), is_quiet),
                and_(func.coalesce(status, "").not_in(SETTLED), is_heard),
            ),
        )
        .cte("watched")
        .prefix_with("MATERIALIZED")
    )


def reports_within(ven_ids: Sequence[str], within: TimeRange) -> Relation:
    """The reports of some VENs with device times in a range."""
    report = ven_telemetry.c
    return select(report.ven_id, report.ts, report.received_at).where(
        report.ven_id == any_(_texts(ven_ids)), report.ts >= within.start, report.ts < within.end
    )


def skewed_reports_of(ven_ids: Sequence[str]) -> Relation:
    """Select the stored reports of VENs that were not received promptly."""
    return select(skewed_reports).where(skewed_reports.c.ven_id.in_(ven_ids))


def vens_with_new_skewed_reports() -> Select[str]:
    report = skewed_reports.c
    return select(report.ven_id).where(report.judged_at.is_(None)).distinct().order_by(report.ven_id)


def mark_judged(ven_ids: Sequence[str], now: datetime) -> Update:
    report = skewed_reports.c
    is_new = and_(report.ven_id == any_(_texts(ven_ids)), report.judged_at.is_(None))
    return update(skewed_reports).where(is_new).values(judged_at=now)


def drop_older_skewed_reports(ven_ids: Sequence[str], most: int) -> Delete:
    """Delete all but the last `most` received reports of each VEN."""
    report = skewed_reports.c
    by_receipt = func.row_number().over(
        partition_by=report.ven_id, order_by=(report.received_at.desc(), report.ts.desc())
    )
    ranked = select(report.ven_id, report.ts, by_receipt.label("place")).where(
        report.ven_id == any_(_texts(ven_ids))
    )
    places = ranked.subquery()
    surplus = select(places.c.ven_id, places.c.ts).where(places.c.place > most)
    return delete(skewed_reports).where(tuple_(report.ven_id, report.ts).in_(surplus))


def _texts(values: Sequence[str]) -> ColumnElement[list[str]]:
    return literal(list(values), ARRAY(Text))
