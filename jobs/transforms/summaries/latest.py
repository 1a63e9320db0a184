"""Computes latest values by device time, regardless of the order of arrival."""

from collections.abc import Mapping, Sequence

import polars as pl
from msgspec import Struct

from jobs.transforms.events.presence import is_prompt
from schemas.tables.snapshots import LOAD_FIELDS
from schemas.times.instants import microseconds
from schemas.times.time_ranges import TimeRange


class Latest(Struct, frozen=True):
    """The merge rules of a table of latest values.

    `groups`: columns that change together, by the column that orders them in time.
    `greatest`: columns whose greatest value wins.
    """

    keys: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    greatest: tuple[str, ...]


REPORT_FIELDS = ("shed_power_kw", "requested_reduction_kw", "event_id", "battery_soc")
"""Columns of the newest report, null included."""

VENS = Latest(
    ("ven_id",),
    {"ts": REPORT_FIELDS, "used_power_ts": ("used_power_kw",), "status_ts": ("status",)},
    ("received_at", "heard_at"),
)
LOADS = Latest(("ven_id", "load_id"), {f"{field}_stamp": (field,) for field in LOAD_FIELDS}, ("ts",))


def latest_vens(telemetry: pl.DataFrame, statuses: pl.DataFrame) -> pl.DataFrame:
    """Return the newest report, the newest usage and the newest status of each VEN in new rows.

    Args:
        telemetry: new rows of `ven_telemetry`; a null `used_power_kw` is taken from the newest report
                that has it.
        statuses: new rows of `ven_statuses`.

    Returns:
        Rows of `ven_snapshots`, null where the new rows have no value.
    """
    reports = (
        telemetry.sort("ts")
        .group_by("ven_id")
        .agg(pl.col("ts", *REPORT_FIELDS).last(), *_last_contact(), *_last_value("used_power_kw", "ts"))
        .rename({"used_power_kw_ts": "used_power_ts"})
    )
    transitions = (
        statuses.sort("ts")
        .group_by("ven_id")
        .agg(pl.col("status").last(), pl.col("ts").last().alias("status_ts"))
    )
    return reports.join(transitions, on="ven_id", how="full", coalesce=True).sort("ven_id")


def contacts(latest: pl.DataFrame) -> pl.DataFrame:
    """Return rows of `ven_snapshots` with when reports were received, and without their values."""
    kept = {*VENS.keys, *VENS.greatest}
    values = ((name, dtype) for name, dtype in latest.schema.items() if name not in kept)
    return latest.with_columns(pl.lit(None, dtype).alias(name) for name, dtype in values)


def latest_loads(samples: pl.DataFrame, descriptions: pl.DataFrame) -> pl.DataFrame:
    """Return each field of each load from the newest message that contains it, with that message's stamp.

    Args:
        samples: new rows of `ven_load_samples`.
        descriptions: new rows of `ven_load_descriptions`.

    Returns:
        Rows of `load_snapshots`; a field that no new row contains is null, and so is its stamp.
    """
    entries = pl.concat([_stamped(samples, rank=1), _stamped(descriptions, rank=0)])
    fields = [part for field in LOAD_FIELDS for part in _last_value(field, "stamp")]
    return (
        entries.sort("stamp")
        .group_by("ven_id", "load_id")
        .agg(pl.col("ts").last(), *fields)
        .sort("ven_id", "load_id")
    )


def newest(parts: Sequence[pl.DataFrame], rules: Latest) -> pl.DataFrame:
    """Merge frames of latest values: in each group of columns the newest wins.

    A key without a value in any group is left out, unless its `ts` is still that of a report.
    """
    columns = parts[0].columns
    groups = [
        pl.col(*fields, order).sort_by(order, nulls_last=False, maintain_order=True).last()
        for order, fields in rules.groups.items()
    ]
    merged = (
        pl.concat([part.select(columns) for part in parts])
        .group_by(rules.keys)
        .agg(pl.col(rules.greatest).max(), *groups)
        .sort(rules.keys)
    )
    vouched = pl.any_horizontal(pl.col("ts", *rules.groups).is_not_null())
    return merged.filter(vouched).with_columns(_vouched_ts(rules)).select(columns)


def without(latest: pl.DataFrame, rules: Latest, within: TimeRange) -> pl.DataFrame:
    """Return latest values without those from messages of a range."""
    groups = dict(rules.groups) if "ts" in rules.groups else {**rules.groups, "ts": ()}
    return latest.with_columns(
        pl.when(~_is_within(order, within)).then(column).alias(column)
        for order, fields in groups.items()
        for column in (*fields, order)
    )


def lost(latest: pl.DataFrame, rebuilt: pl.DataFrame, rules: Latest) -> list[str]:
    """Return VENs that have a row, however old, and none in `rebuilt`."""
    both = latest.join(rebuilt, on=rules.keys, how="left", suffix="_rebuilt")
    is_lost = (
        pl.col(order).is_not_null() & pl.col(f"{order}_rebuilt").is_null() for order in ("ts", *rules.groups)
    )
    return both.filter(pl.any_horizontal(is_lost)).get_column("ven_id").unique().sort().to_list()


def _vouched_ts(rules: Latest) -> pl.Expr:
    """Return the time of a load's row: without its newest message, that of its newest field."""
    if "ts" in rules.groups:
        return pl.col("ts")
    newest_field = pl.max_horizontal(*rules.groups) // 2
    return pl.coalesce("ts", newest_field.cast(pl.Datetime("us", "UTC"))).alias("ts")


def _is_within(order: str, within: TimeRange) -> pl.Expr:
    """Return whether a time is within a range; null never is."""
    column = pl.col(order)
    if order.endswith("_stamp"):
        stamps = column.is_between(
            2 * microseconds(within.start), 2 * microseconds(within.end), closed="left"
        )
        return stamps.fill_null(value=False)
    return column.is_between(within.start, within.end, closed="left").fill_null(value=False)


def _last_contact() -> tuple[pl.Expr, pl.Expr]:
    """Return when a report was last received, and when one was last received promptly."""
    received_at = pl.col("received_at")
    return received_at.max(), received_at.filter(is_prompt()).max().alias("heard_at")


def _stamped(entries: pl.DataFrame, rank: int) -> pl.DataFrame:
    """Add the stamp; a tie of device times is broken by the higher rank."""
    return entries.with_columns((pl.col("ts").dt.epoch("us") * 2 + rank).alias("stamp"))


def _last_value(field: str, order: str) -> tuple[pl.Expr, pl.Expr]:
    """Return the last value of a field in that order; a `filter` in each group would take twice as long."""
    order_of_value = pl.when(pl.col(field).is_not_null()).then(pl.col(order))
    return pl.col(field).last(ignore_nulls=True), order_of_value.max().alias(f"{field}_{order}")
