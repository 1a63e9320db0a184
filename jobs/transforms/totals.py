"""Totals over the latest values: of the network, and of each load type. Powers in kW."""

from datetime import date, datetime
from typing import NamedTuple

import polars as pl

from schemas.devices.statuses import UNAVAILABLE
from schemas.tables.snapshots import NetworkSnapshotFrame

UNKNOWN_TYPE = "unknown"


class EnergyToday(NamedTuple):
    """Energy used since a day of the site's time zone began; None without data."""

    day: date
    used_kwh: float | None


def load_type_rollups(groups: pl.DataFrame) -> pl.DataFrame:
    """Return capacity, shed capability and usage of each load type.

    Args:
        groups: sums over loads: `load_type` (null: unknown), `capacity_kw`, `shed_capability_kw`,
            `usage_kw`; a type may have several rows.
    """
    return (
        groups.group_by(pl.col("load_type").fill_null(UNKNOWN_TYPE))
        .agg(
            pl.col("capacity_kw").sum().alias("total_capacity_kw"),
            pl.col("shed_capability_kw").sum().alias("total_shed_capability_kw"),
            pl.col("usage_kw").sum().alias("current_usage_kw"),
        )
        .sort("load_type")
    )


def network_snapshot(
    vens: pl.DataFrame, groups: pl.DataFrame, energy: EnergyToday, now: datetime
) -> pl.DataFrame:
    """Return the network's totals, one row.

    Args:
        vens: counts and sums of registered VENs by `status` (null while they have none): `vens`,
            `reporting_vens` (with telemetry), `used_power_kw`, `shed_power_kw`, and `whole_shed_power_kw`,
            of those that report no loads.
        groups: sums over the loads of these VENs: `shed_capability_kw`, `enabled` (it may be controlled),
            `controllable` (its VEN is neither offline nor in maintenance).
        energy: energy used today.
        now: the time of the totals.
    """
    sheddable = _sheddable(vens, groups)
    controllable = sheddable.filter(pl.col("controllable") & pl.col("enabled"))
    row = {
        "network": 1,
        "ven_count": vens.get_column("vens").sum(),
        "online_vens": vens.filter(pl.col("status") == "online").get_column("vens").sum(),
        "reporting_vens": vens.get_column("reporting_vens").sum(),
        "controllable_power_kw": controllable.get_column("shed_kw").sum(),
        "potential_load_reduction_kw": sheddable.get_column("shed_kw").sum(),
        "household_usage_kw": vens.get_column("used_power_kw").sum(),
        "current_load_reduction_kw": vens.get_column("shed_power_kw").sum(),
        "energy_day": energy.day,
        "energy_today_kwh": energy.used_kwh,
        "refreshed_at": now,
    }
    return pl.DataFrame([row], schema=NetworkSnapshotFrame.types())


def _sheddable(vens: pl.DataFrame, groups: pl.DataFrame) -> pl.DataFrame:
    """Return the power that can be shed; a VEN without loads counts as one, with what it sheds now."""
    whole_vens = vens.select(
        pl.col("whole_shed_power_kw").alias("shed_kw"),
        pl.lit(value=True).alias("enabled"),
        (~pl.col("status").is_in(UNAVAILABLE)).fill_null(value=True).alias("controllable"),
    )
    loads = groups.select(pl.col("shed_capability_kw").alias("shed_kw"), "enabled", "controllable")
    return pl.concat([loads, whole_vens])
