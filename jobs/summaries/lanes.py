"""The two lanes from raw rows to summary tables, and the totals that follow each.

A lane's first step adds claimed batches to mergeable summary rows, so any number of workers may run it
concurrently. The step after it recomputes, under a lock, what cannot be merged: the last run sees all
batches.
"""

from datetime import datetime, timedelta

import polars as pl
from sqlalchemy import Connection

from jobs.archive.progress import compared_before
from jobs.queries.summaries import merging as merging_queries
from jobs.queries.summaries import summary as summary_queries
from jobs.queries.summaries import totals as totals_queries
from jobs.summaries.ledger import claim
from jobs.summaries.models import (
    LoadSampleFrame,
    LoadSumsFrame,
    ReportFrame,
    StatusSumsFrame,
    TransitionFrame,
    VenSampleFrame,
)
from jobs.summaries.rows import fetch, write
from jobs.transforms.events.presence import skewed
from jobs.transforms.summaries import totals
from jobs.transforms.summaries.buckets import bucket_samples, coarsen
from jobs.transforms.summaries.latest import contacts, latest_loads, latest_vens
from schemas.db import channels, locks
from schemas.db.horizons import dropped_before
from schemas.devices.load_values import GONE_AFTER, newest_report
from schemas.devices.totals import load_sums, ven_sums
from schemas.tables import history, raw, snapshots
from schemas.tables.forecasts import HALF_HOUR, stale_half_hours
from schemas.tables.presence import skewed_reports
from schemas.times.instants import from_microseconds
from schemas.times.local_days import local_day, midnight_us

SLOTS_AT_ONCE = 500
"""Most slots of one step: some seconds of PostgreSQL for a large fleet; a new width may mark thousands."""


def consume_snapshot_batches(connection: Connection, _now: datetime) -> int:
    """Add claimed rows to the latest values and to network history; returns the number of rows read.

    Values of late rows of archived days are left to the job `archive`, which refuses conflicts among them.
    """
    connection.execute(locks.shared(locks.lane("snapshot")))
    connection.execute(summary_queries.HOLD_RAW)
    claimed = claim(connection, "snapshot")
    if claimed is None:
        return 0
    reports = claimed.read(raw.ven_telemetry, ReportFrame)
    transitions = claimed.read(raw.ven_statuses, TransitionFrame)
    samples = claimed.read(raw.ven_load_samples, raw.EntryFrame)
    descriptions = claimed.read(raw.ven_load_descriptions, raw.EntryFrame)
    write(connection, skewed(reports), skewed_reports, merging_queries.insert_missing)
    compared = compared_before(connection)
    write_latest_vens(connection, latest_vens(reports.filter(pl.col("ts") >= compared), transitions))
    late = reports.filter(pl.col("ts") < compared)
    write_latest_vens(connection, contacts(latest_vens(late, transitions.clear())))
    timely = (entries.filter(pl.col("ts") >= compared) for entries in (samples, descriptions))
    write_latest_loads(connection, latest_loads(*timely))
    write(
        connection,
        network_buckets(_countable(connection, reports)),
        history.network_history,
        merging_queries.merge_sums,
    )
    if not descriptions.is_empty():
        _mark_stale(connection, _countable(connection, descriptions).get_column("ts"))
    return claimed.rows


def write_latest_vens(connection: Connection, latest: pl.DataFrame) -> None:
    write(connection, latest, snapshots.ven_snapshots, merging_queries.merge_latest_vens)


def write_latest_loads(connection: Connection, latest: pl.DataFrame) -> None:
    write(connection, latest, snapshots.load_snapshots, merging_queries.merge_latest_loads)


def network_buckets(reports: pl.DataFrame) -> pl.DataFrame:
    """Return rows of `network_history` in all resolutions."""
    finest, *coarser = history.NETWORK_RESOLUTIONS_S
    buckets = bucket_samples(reports, [], finest)
    return pl.concat([buckets, *(coarsen(buckets, [], resolution_s) for resolution_s in coarser)])


def refresh_totals(
    connection: Connection,
    now: datetime,
    gone_after: timedelta | None = GONE_AFTER,
    time_zone: str = "UTC",
) -> int:
    """Recompute the totals of the network and of each load type from the latest values; returns rows written.

    Loads that lag further than `gone_after` behind their VEN are left out. Today is a day of `time_zone`.
    """
    connection.execute(locks.exclusive(locks.TOTALS))
    vens = fetch(connection, ven_sums(gone_after), StatusSumsFrame)
    newest_ts = connection.execute(newest_report()).scalar_one()
    loads = fetch(connection, load_sums(gone_after, newest_ts=newest_ts), LoadSumsFrame)
    network = totals.network_snapshot(vens, loads, _energy_today(connection, now, time_zone), now)
    types = totals.load_type_rollups(loads)
    write(connection, network, snapshots.network_snapshot, merging_queries.replace)
    write(connection, types, snapshots.load_type_rollups, merging_queries.replace)
    connection.execute(totals_queries.drop_types_except(types.get_column("load_type").to_list()))
    connection.execute(channels.notify(channels.TOTALS))
    return network.height + types.height


def _energy_today(connection: Connection, now: datetime, time_zone: str) -> totals.EnergyToday:
    """Return today's energy; a slot that spans the start of the day counts for the day in which it begins."""
    day = local_day(now, time_zone)
    start = from_microseconds(midnight_us(day, time_zone))
    return totals.EnergyToday(day, connection.execute(totals_queries.energy_since(start)).scalar_one())


def consume_history_batches(connection: Connection, _now: datetime) -> int:
    """Add claimed samples to the buckets of their VENs and loads; returns the number of rows read."""
    connection.execute(locks.shared(locks.lane("history")))
    connection.execute(summary_queries.HOLD_RAW)
    claimed = claim(connection, "history")
    if claimed is None:
        return 0
    panels = claimed.read(raw.ven_telemetry, VenSampleFrame)
    loads = claimed.read(raw.ven_load_samples, LoadSampleFrame)
    by_ven = bucket_samples(_countable(connection, panels), ["ven_id"], history.SLOT_S)
    by_load = bucket_samples(_countable(connection, loads), ["ven_id", "load_id"], history.SLOT_S)
    write(connection, by_ven, history.ven_history, merging_queries.merge_sums)
    write(connection, by_load, history.load_history, merging_queries.merge_sums)
    write(connection, by_ven.select("bucket").unique(), history.stale_slots, merging_queries.mark_stale)
    _mark_stale(connection, by_load.get_column("bucket"))
    return claimed.rows


def refresh_energy(connection: Connection, _now: datetime) -> int:
    """Recompute the network's energy where VEN history or slot widths have changed; returns the slots."""
    connection.execute(locks.exclusive(locks.ENERGY))
    stale = connection.execute(totals_queries.take_stale_slots(SLOTS_AT_ONCE)).scalars().all()
    if not stale:
        return 0
    stale = connection.execute(totals_queries.sharing_energy(stale)).scalars().all()
    query = totals_queries.network_energy_of(history.ven_history.c.bucket.in_(stale))
    energy = fetch(connection, query, history.NetworkEnergyFrame)
    write(connection, energy, history.network_energy, merging_queries.replace)
    connection.execute(totals_queries.drop_energy(set(stale) - set(energy.get_column("bucket"))))
    return len(stale)


def _mark_stale(connection: Connection, instants: pl.Series) -> None:
    """Mark half hours as stale for which values of loads have arrived.

    Shed capability comes in samples, which the history lane merges, and in descriptions, which only the
    snapshot lane reads.
    """
    half_hours = instants.alias("bucket").dt.truncate(HALF_HOUR).unique().to_frame()
    write(connection, half_hours, stale_half_hours, merging_queries.mark_stale)


def _countable(connection: Connection, samples: pl.DataFrame) -> pl.DataFrame:
    """Return the samples that history may still count: of dropped days it is unknown which were counted."""
    since = connection.execute(dropped_before(history.RAW_S)).scalar_one_or_none()
    return samples if since is None else samples.filter(pl.col("ts") >= since)
