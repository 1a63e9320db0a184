"""Totals over the latest values: the network's, and those of each load type. Powers in kW."""

from datetime import datetime

import polars as pl

from schemas.tables.snapshots import NetworkSnapshotFrame

UNKNOWN_TYPE = "unknown"

SHED_CAPABILITY = pl.coalesce("shed_capability_kw", "shed_power_kw", pl.lit(0.0))
"""A load's shed capability: the reported one, else what it sheds now, else none."""

CAPACITY = pl.coalesce("capacity_kw", pl.col("used_power_kw").fill_null(0.0) + SHED_CAPABILITY)
"""A load's capacity: the reported one, else usage and shed capability together."""


def load_type_rollups(loads: pl.DataFrame) -> pl.DataFrame:
    """Capacity, shed capability and usage of each load type.

    Generation is not negative usage: a load that exports adds nothing to it.

    Args:
        loads: the latest of each load: `load_type`, `used_power_kw`, `shed_power_kw`, `capacity_kw`,
            `shed_capability_kw`, each of which may be null.
    """
    return (
        loads.group_by(pl.col("load_type").fill_null(UNKNOWN_TYPE))
        .agg(
            CAPACITY.sum().alias("total_capacity_kw"),
            SHED_CAPABILITY.sum().alias("total_shed_capability_kw"),
            pl.col("used_power_kw").fill_null(0.0).clip(0.0).sum().alias("current_usage_kw"),
        )
        .sort("load_type")
    )


def network_snapshot(
    vens: pl.DataFrame, loads: pl.DataFrame, energy_today_kwh: float | None, now: datetime
) -> pl.DataFrame:
    """The network's totals, one row.

    Args:
        vens: every registered VEN: `ven_id`, `ts` of its newest report (null without any),
            `used_power_kw`, `shed_power_kw`, `status` (null while it has none).
        loads: the latest of each load of these VENs: `ven_id`, `shed_power_kw`, `shed_capability_kw`,
            `enabled` (null: not said, so it may be controlled).
        energy_today_kwh: energy since 00:00 UTC, or None while nothing is known.
        now: the time of this look.
    """
    sheddable = _sheddable(vens, loads)
    controllable = sheddable.filter(pl.col("online") & pl.col("enabled"))
    row = {
        "network": 1,
        "ven_count": vens.height,
        "online_vens": (vens.get_column("status") == "online").sum(),
        "reporting_vens": vens.get_column("ts").count(),
        "controllable_power_kw": controllable.get_column("shed_kw").sum(),
        "potential_load_reduction_kw": sheddable.get_column("shed_kw").sum(),
        "household_usage_kw": vens.get_column("used_power_kw").sum(),
        "current_load_reduction_kw": vens.get_column("shed_power_kw").sum(),
        "energy_day": now.date(),
        "energy_today_kwh": energy_today_kwh,
        "refreshed_at": now,
    }
    return pl.DataFrame([row], schema=NetworkSnapshotFrame.types())


def _sheddable(vens: pl.DataFrame, loads: pl.DataFrame) -> pl.DataFrame:
    """What can be shed, load by load; a VEN that reports no loads counts as one, with what it sheds now."""
    by_load = loads.select(
        "ven_id", SHED_CAPABILITY.alias("shed_kw"), pl.col("enabled").fill_null(value=True)
    )
    whole_vens = vens.join(loads, on="ven_id", how="anti").select(
        "ven_id", pl.col("shed_power_kw").fill_null(0.0).alias("shed_kw"), pl.lit(value=True).alias("enabled")
    )
    online = vens.select("ven_id", (pl.col("status").fill_null("") != "offline").alias("online"))
    return pl.concat([by_load, whole_vens]).join(online, on="ven_id")
