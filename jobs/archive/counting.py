"""Adds late rows of archived days to the summary, once each, as the lanes do for stored days.

Lanes ignore them, since only the archive can tell a new row from a redelivery. Half hours of forecasts are
computed from raw rows in PostgreSQL, and stay unchanged.
"""

import polars as pl
from sqlalchemy import Connection

from jobs.queries.summaries import merging as merging_queries
from jobs.summaries.lanes import network_buckets, write_latest_loads, write_latest_vens
from jobs.summaries.models import TransitionFrame
from jobs.summaries.rows import write
from jobs.transforms.summaries.buckets import bucket_samples
from jobs.transforms.summaries.latest import latest_loads, latest_vens
from schemas.db import locks
from schemas.db.horizons import dropped_before
from schemas.tables.history import (
    NETWORK_RESOLUTIONS_S,
    SLOT_S,
    load_history,
    network_history,
    stale_slots,
    ven_history,
)


def update_latest(
    connection: Connection, reports: pl.DataFrame, samples: pl.DataFrame, descriptions: pl.DataFrame
) -> None:
    """Update the latest values by rows of the raw tables that are new to the archive."""
    connection.execute(locks.shared(locks.lane("snapshot")))
    write_latest_vens(connection, latest_vens(reports, pl.DataFrame(schema=TransitionFrame.types())))
    write_latest_loads(connection, latest_loads(samples, descriptions))


def count_rows(connection: Connection, reports: pl.DataFrame, samples: pl.DataFrame) -> None:
    """Add rows to the history of the network, of VENs and of loads, within retention's horizons.

    Args:
        connection: in the transaction that records these rows as archived.
        reports: rows of `ven_telemetry` that are not counted yet.
        samples: rows of `ven_load_samples` likewise.
    """
    for lane in ("snapshot", "history"):
        connection.execute(locks.shared(locks.lane(lane)))
    by_ven = bucket_samples(reports, ["ven_id"], SLOT_S)
    buckets = {
        network_history: network_buckets(reports),
        ven_history: by_ven,
        load_history: bucket_samples(samples, ["ven_id", "load_id"], SLOT_S),
    }
    for table, rows in buckets.items():
        write(connection, _kept(connection, rows), table, merging_queries.merge_sums)
    slots = _kept(connection, by_ven).select("bucket").unique()
    write(connection, slots, stale_slots, merging_queries.mark_stale)


def _kept(connection: Connection, buckets: pl.DataFrame) -> pl.DataFrame:
    """Return the buckets that retention still keeps."""
    for resolution_s in NETWORK_RESOLUTIONS_S:
        since = connection.execute(dropped_before(resolution_s)).scalar_one_or_none()
        if since is not None:
            is_outdated = (pl.col("resolution_s") == resolution_s) & (pl.col("bucket") < since)
            buckets = buckets.filter(~is_outdated)
    return buckets
