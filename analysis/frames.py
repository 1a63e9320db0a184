"""Conversions of frames for analysts: Python names, times in a zone, days of 23 and 25 hours. Pure."""

import re

import polars as pl

from analysis.ranges import Aggregate
from schemas.tables.history import SLOT_S

SLOT_HOURS = SLOT_S / 3600
UTC = pl.Datetime("us", "UTC")


def pythonic(frame: pl.DataFrame) -> pl.DataFrame:
    """`usedPowerKw` becomes `used_power_kw`, also within structs."""
    renamed = frame.rename(snake_case)
    nested = (name for name, kind in renamed.schema.items() if isinstance(kind, pl.Struct))
    return renamed.with_columns(
        pl.col(name).struct.rename_fields(_fields(renamed.schema[name])) for name in nested
    )


def _fields(kind: pl.DataType) -> list[str]:
    return [snake_case(field.name) for field in kind.fields] if isinstance(kind, pl.Struct) else []


def snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", lambda match: f"_{match[1]}", name).lower()


def in_zone(frame: pl.DataFrame, zone: str) -> pl.DataFrame:
    """The same instants, as clocks in a zone show them."""
    return frame.with_columns(pl.col(pl.Datetime).dt.convert_time_zone(zone))


def gather(slots: pl.DataFrame, every: str, zone: str, aggregate: Aggregate) -> pl.DataFrame:
    """Aggregate slots of five minutes to days, weeks or months of a zone, by the API's definitions.

    Args:
        slots: key columns, if any; `timestamp` in UTC; and the two values: sums of samples, kW, for `sum`;
            energy in the slot, kWh, for the others. A slot without samples is missing.
        every: a calendar length such as `1d`.
        zone: the calendar's zone; its days may have 23 or 25 hours.
        aggregate: `sum` and `energy` add up; `mean` is the energy over the hours of the slots, kW.

    Returns:
        The same columns, `timestamp` in the zone, the values of `mean` renamed to powers; sorted.
    """
    values = [name for name in slots.columns if re.search("_power_kw$|_energy_kwh$", name)]
    keys = [name for name in slots.columns if name not in {"timestamp", *values}]
    bucket = pl.col("timestamp").dt.convert_time_zone(zone).dt.truncate(every)
    buckets = slots.group_by(*keys, bucket).agg(pl.col(values).sum(), pl.len().alias("slots"))
    if aggregate == "mean":
        buckets = buckets.with_columns(pl.col(values) / (pl.col("slots") * SLOT_HOURS))
        buckets = buckets.rename({name: name.replace("_energy_kwh", "_power_kw") for name in values})
    return buckets.drop("slots").sort(*keys, "timestamp")
