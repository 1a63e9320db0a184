"""The SQL of temperatures for baselines, shared by jobs and serving."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, Text, any_, case, exists, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY

from schemas.db.queries import Relation
from schemas.demand_response.groups import OneOf
from schemas.tables.registry import vens
from schemas.tables.weather import SITE
from schemas.tables.weather import temperatures as table
from schemas.times.time_ranges import TimeRange


def regions_of(ven_ids: Sequence[str]) -> Select[str, str]:
    """Select the region whose temperatures apply to each VEN: its own if it has any, else the site's."""
    has_own = exists().where(table.c.region == vens.c.region)
    return select(vens.c.ven_id, case((has_own, vens.c.region), else_=SITE).label("region")).where(
        vens.c.ven_id == _any_of(ven_ids)
    )


def temperatures(regions: Sequence[str], within: TimeRange) -> Relation:
    """Select the temperatures of regions in a range."""
    return select(table.c.region, table.c.ts, table.c.temperature_c).where(
        table.c.region == _any_of(regions), table.c.ts >= within.start, table.c.ts < within.end
    )


def changed_temperatures(since: datetime, within: TimeRange) -> Select[bool]:
    """Select whether any temperature of a range was imported or changed since a time."""
    row = table.c
    of_range = (row.ts >= within.start, row.ts < within.end, row.recorded_at >= since)
    return select(exists().where(*of_range))


def _any_of(texts: Sequence[str]) -> OneOf:
    return any_(func.cast(literal(list(texts), ARRAY(Text)), ARRAY(Text)))
