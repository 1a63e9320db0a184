"""Who has fallen silent, and who reports."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Select,
    and_,
    func,
    or_,
    select,
    true,
)

from schemas.tables.raw import ven_telemetry
from schemas.tables.registry import vens
from schemas.tables.snapshots import (
    ven_snapshots,
)


def watched_vens(heard_before: datetime) -> Select[Any]:
    """VENs that are not offline and were last heard before a time; and those offline, but heard since.

    Under maintenance a VEN may be silent; one that was never heard live is not expected to be.
    """
    ven = ven_snapshots.c
    not_offline = func.coalesce(ven.status, "").not_in(("offline", "maintenance"))
    return (
        select(ven.ven_id, ven.status, ven.status_ts, ven.heard_at)
        .join(vens, and_(vens.c.ven_id == ven.ven_id, vens.c.retired_at.is_(None)))
        .where(
            or_(
                and_(not_offline, ven.heard_at < heard_before),
                and_(ven.status == "offline", ven.heard_at > ven.status_ts),
            )
        )
    )


def recent_reports(ven_ids: Sequence[str], since: datetime, most: int) -> Select[Any]:
    """The last reports, at most so many each, of some VENs."""
    asked = select(ven_snapshots.c.ven_id).where(ven_snapshots.c.ven_id.in_(ven_ids)).subquery()
    last = (
        select(ven_telemetry.c.ts)
        .where(ven_telemetry.c.ven_id == asked.c.ven_id, ven_telemetry.c.ts >= since)
        .order_by(ven_telemetry.c.ts.desc())
        .limit(most)
        .lateral()
    )
    return select(asked.c.ven_id, last.c.ts).join(last, true())
