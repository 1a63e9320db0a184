"""Compares two frames with the same columns, row by row."""

import polars as pl

TOLERANCE = 1e-6
"""Relative and absolute tolerance: PostgreSQL adds floats in any order."""


def differing(found: pl.DataFrame, expected: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return the rows that differ between two frames, or are missing in one.

    Args:
        found: rows, unique by `keys`.
        expected: the rows that should exist, with the same columns.
        keys: columns that are never null.

    Returns:
        `keys`, `is_found`, `is_expected`, and for each other column what was found, and what was expected
        as `<column>_expected`; ordered by key.
    """
    both = found.with_columns(is_found=True).join(
        expected.with_columns(is_expected=True), on=keys, how="full", coalesce=True, suffix="_expected"
    )
    one_sided = pl.col("is_found").is_null() | pl.col("is_expected").is_null()
    values = [_differs(name, dtype) for name, dtype in found.schema.items() if name not in keys]
    differs = pl.any_horizontal(one_sided, *values)
    flags = pl.col("is_found", "is_expected").fill_null(value=False)
    return both.filter(differs).with_columns(flags).sort(keys)


def listed(differences: pl.DataFrame, keys: list[str]) -> pl.DataFrame:
    """Return one row for each differing value, as text: `key`, `column`, `found`, `expected`.

    A missing or superfluous row is one line with an empty column.
    """
    key = pl.concat_str([pl.col(name).cast(pl.String) for name in keys], separator=" ").alias("key")
    whole = differences.filter(~(pl.col("is_found") & pl.col("is_expected"))).select(
        key, pl.lit("").alias("column"), _presence("is_found"), _presence("is_expected")
    )
    names = [name.removesuffix("_expected") for name in differences.columns if name.endswith("_expected")]
    names = [name for name in names if name != "is"]
    both = differences.filter(pl.col("is_found") & pl.col("is_expected"))
    single = [
        both.filter(_differs(name, both.schema[name])).select(
            key,
            pl.lit(name).alias("column"),
            pl.col(name).cast(pl.String).alias("found"),
            pl.col(f"{name}_expected").cast(pl.String).alias("expected"),
        )
        for name in names
    ]
    return pl.concat([whole, *single]).sort("key", "column")


def _presence(flag: str) -> pl.Expr:
    there = pl.when(pl.col(flag)).then(pl.lit("a row")).otherwise(pl.lit("no row"))
    return there.alias(flag.removeprefix("is_"))


def _differs(name: str, dtype: pl.DataType) -> pl.Expr:
    found, expected = pl.col(name), pl.col(f"{name}_expected")
    if dtype != pl.Float64:
        return found.ne_missing(expected)
    off, allowed = (found - expected).abs(), TOLERANCE * (1 + pl.max_horizontal(found.abs(), expected.abs()))
    is_near = off.is_finite() & allowed.is_finite() & (off <= allowed)
    return ~(is_near.fill_null(value=False) | found.eq_missing(expected))
