"""Used power and flexibility of each load over time, from raw rows."""

import polars as pl

from analysis.database_grid import DatabaseGrid
from analysis.ranges import Instant

_ENTRY = ["ven_id", "load_id", "ts", "shed_capability_kw"]
_KEYS = ["timestamp", "load_type", "ven_id", "load_id"]


def flexibility(grid: DatabaseGrid, start: Instant, end: Instant, *, every: str = "30m") -> pl.DataFrame:
    """Return by load `timestamp`, `load_type`, `ven_id`, `load_id`, `used_power_kw`, `shed_capability_kw`.

    Means of reported values. Many VENs report a load's flexibility only when they describe it, perhaps
    every half hour: a finer `every` leaves gaps, which are null.
    """
    types = grid.loads().lazy().select("ven_id", load_id="id", load_type="type")
    samples = grid.raw.load_samples(start, end).select(*_ENTRY, "used_power_kw")
    descriptions = grid.raw.load_descriptions(start, end).select(_ENTRY)
    values = pl.concat([samples, descriptions], how="diagonal").join(types, on=["ven_id", "load_id"])
    means = pl.col("used_power_kw", "shed_capability_kw").mean()
    return (
        values.group_by(*_KEYS[1:], timestamp=pl.col("ts").dt.truncate(every))
        .agg(means)
        .sort(_KEYS)
        .select(*_KEYS, "used_power_kw", "shed_capability_kw")
        .collect()
    )
