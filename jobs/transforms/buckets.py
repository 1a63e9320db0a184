"""Aggregates samples into history buckets, and buckets into coarser ones.

Signs as reported: usage is net import, negative while a site exports; shed is positive.
A sample without a value adds nothing to sum or count, but it is a sample: its bucket exists.
"""

import polars as pl

MICROSECONDS_PER_S = 1_000_000

STATE = (
    pl.col("used_power_kw_sum").sum(),
    pl.col("shed_power_kw_sum").sum(),
    pl.col("samples").sum(),
    pl.col("used_samples").sum(),
    pl.col("shed_samples").sum(),
)


def bucket_samples(samples: pl.DataFrame, keys: list[str], resolution_s: int) -> pl.DataFrame:
    """Sum and count samples by `keys` and bucket.

    Args:
        samples: `keys`, `ts` (UTC), `used_power_kw` and `shed_power_kw` (kW, either may be null).
        keys: the entity's columns; none for the network.
        resolution_s: width of a bucket; buckets are aligned to the Unix epoch.

    Returns:
        `keys`, `resolution_s`, `bucket`, and the mergeable state, ordered by key and bucket.
    """
    states = samples.select(
        *keys,
        _floor("ts", resolution_s),
        pl.col("used_power_kw").fill_null(0.0).alias("used_power_kw_sum"),
        pl.col("shed_power_kw").fill_null(0.0).alias("shed_power_kw_sum"),
        pl.lit(1, pl.Int64).alias("samples"),
        pl.col("used_power_kw").is_not_null().cast(pl.Int64).alias("used_samples"),
        pl.col("shed_power_kw").is_not_null().cast(pl.Int64).alias("shed_samples"),
    )
    return _merge(states, keys, resolution_s)


def coarsen(buckets: pl.DataFrame, keys: list[str], resolution_s: int) -> pl.DataFrame:
    """Merge buckets into wider ones; `resolution_s` must be a multiple of theirs."""
    return _merge(buckets.with_columns(_floor("bucket", resolution_s)), keys, resolution_s)


def _floor(column: str, resolution_s: int) -> pl.Expr:
    width_us = resolution_s * MICROSECONDS_PER_S
    floored = pl.col(column).dt.epoch("us") // width_us * width_us
    return floored.cast(pl.Datetime("us", "UTC")).alias("bucket")


def _merge(states: pl.DataFrame, keys: list[str], resolution_s: int) -> pl.DataFrame:
    order = [*keys, "bucket"]
    merged = states.group_by(order).agg(*STATE).sort(order)
    return merged.with_columns(pl.lit(resolution_s, pl.Int32).alias("resolution_s"))
