"""The SQL of importing temperatures."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import MetaData, Select, Table, select
from sqlalchemy.dialects.postgresql import Insert, insert

from schemas.db.queries import Relation
from schemas.tables.registry import vens
from schemas.tables.weather import temperatures


def stored(region: str, first: datetime, last: datetime) -> Relation:
    """Select the temperatures of a region between two times, both inclusive."""
    row = temperatures.c
    return select(temperatures).where(row.region == region, row.ts >= first, row.ts <= last)


def merge_temperatures(target: Table, staged: str) -> Insert:
    """Upsert staged temperatures by region and time."""
    twin = target.to_metadata(MetaData(), name=staged)
    rows = select(twin).order_by(twin.c.region, twin.c.ts)
    statement = insert(target).from_select([column.name for column in twin.c], rows)
    values = {name: statement.excluded[name] for name in ("temperature_c", "recorded_at")}
    return statement.on_conflict_do_update(index_elements=list(target.primary_key), set_=values)


def regions_with_vens(regions: Sequence[str]) -> Select[str]:
    return select(vens.c.region).where(vens.c.region.in_(regions)).distinct()
