"""Imports temperatures: new ones are inserted, changed ones replaced. Idempotent."""

from datetime import datetime

import polars as pl
from msgspec import Struct
from sqlalchemy import Connection

from jobs.queries import weather as queries
from jobs.summaries.rows import fetch, write
from schemas.tables.weather import SITE, TemperatureFrame, temperatures

KEY = ["region", "ts"]


class Imported(Struct, frozen=True):
    """Counts of new, replaced and unchanged temperatures; `strangers`: regions without any VEN."""

    new: int
    changed: int
    same: int
    strangers: list[str]


def import_temperatures(connection: Connection, rows: pl.DataFrame, now: datetime) -> Imported:
    """Upsert temperatures.

    Args:
        connection: in a transaction.
        rows: `region`, `ts`, `temperature_c`, unique by region and time.
        now: `recorded_at` of new and changed values.
    """
    regions = rows.get_column("region").unique().sort().to_list()
    before = [_stored(connection, region, rows) for region in regions]
    compared = _compared(rows, pl.concat([rows.clear(), *before]))
    stamp = pl.lit(now).cast(pl.Datetime("us", "UTC")).alias("recorded_at")
    differing = compared.filter(pl.col("is_new") | pl.col("is_changed")).with_columns(stamp)
    write(connection, differing, temperatures, queries.merge_temperatures)
    new, changed = (int(compared.get_column(name).sum()) for name in ("is_new", "is_changed"))
    with_vens = set(connection.execute(queries.regions_with_vens(regions)).scalars())
    strangers = [region for region in regions if region != SITE and region not in with_vens]
    return Imported(new, changed, rows.height - new - changed, strangers)


def _stored(connection: Connection, region: str, rows: pl.DataFrame) -> pl.DataFrame:
    ts = rows.filter(region=region).get_column("ts").sort()
    query = queries.stored(region, ts[0], ts[-1])
    return fetch(connection, query, TemperatureFrame).select(*KEY, "temperature_c")


def _compared(rows: pl.DataFrame, before: pl.DataFrame) -> pl.DataFrame:
    """Return `rows` with `is_new` and `is_changed`."""
    old = before.rename({"temperature_c": "old_c"})
    differs = (pl.col("temperature_c") != pl.col("old_c")).fill_null(value=False)
    return rows.join(old, on=KEY, how="left").with_columns(
        is_new=pl.col("old_c").is_null(), is_changed=differs
    )
