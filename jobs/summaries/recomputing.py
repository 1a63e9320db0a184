"""Recomputes the summary of a range from raw rows, to compare it with the stored rows.

Only rows of batches that a table's lane has consumed count: the others are not part of its summary yet. So in
one snapshot of the database, or while the lane is blocked, both are equal.
"""

from collections.abc import Callable, Iterator, Sequence

import polars as pl
from msgspec import Struct
from msgspec.structs import replace
from sqlalchemy import Connection, Table

from jobs.queries.summaries import summary as summary_queries
from jobs.queries.summaries import totals as totals_queries
from jobs.queries.summaries.summary import Scope
from jobs.summaries.models import LoadSampleFrame, ReportFrame, TransitionFrame, VenSampleFrame
from jobs.summaries.rows import fetch, fetch_unchecked
from jobs.summaries.ven_ranges import VenRange
from jobs.transforms.summaries.buckets import bucket_samples, coarsen
from jobs.transforms.summaries.latest import (
    LOADS,
    VENS,
    Latest,
    latest_loads,
    latest_vens,
    lost,
    newest,
    without,
)
from schemas.db.horizons import dropped_before
from schemas.tables import FRAMES, Frame, raw
from schemas.tables.history import NETWORK_RESOLUTIONS_S, SLOT_S, load_history, ven_history
from schemas.tables.history import network_energy as energy_table
from schemas.tables.history import network_history as network_table
from schemas.tables.snapshots import load_snapshots, ven_snapshots
from schemas.times.slots import WIDEST_S
from schemas.times.time_ranges import TimeRange, widened


class Comparison(Struct, frozen=True):
    """The stored and the expected rows of a table in a scope."""

    table: Table
    found: pl.DataFrame
    expected: pl.DataFrame

    @property
    def keys(self) -> list[str]:
        return [key.name for key in self.table.primary_key]


Recomputation = Callable[[Connection, Scope, Sequence[VenRange]], Iterator[Comparison]]
"""Yields one table at a time, and reads the next only afterwards, so that it sees corrected rows.

The VENs' raw rows are read range by range, so that only one range is in memory.
"""


def snapshot_lane(
    connection: Connection, scope: Scope, ven_ranges: Sequence[VenRange]
) -> Iterator[Comparison]:
    """Compare network history and the latest values of VENs and loads."""
    finest_s = NETWORK_RESOLUTIONS_S[0]
    seconds = []
    for each in ven_ranges:
        part = replace(scope, vens=each)
        reports = _consumed(connection, raw.ven_telemetry, ReportFrame, "snapshot", part)
        seconds.append(bucket_samples(reports, [], finest_s))
        transitions = _consumed(connection, raw.ven_statuses, TransitionFrame, "snapshot", part)
        yield _latest(connection, ven_snapshots, VENS, latest_vens(reports, transitions), part)
        samples = _consumed(connection, raw.ven_load_samples, raw.EntryFrame, "snapshot", part)
        descriptions = _consumed(connection, raw.ven_load_descriptions, raw.EntryFrame, "snapshot", part)
        yield _latest(connection, load_snapshots, LOADS, latest_loads(samples, descriptions), part)
    if scope.ven_ids is None:
        yield from _network_history(connection, coarsen(pl.concat(seconds), [], finest_s), scope)


def history_lane(
    connection: Connection, scope: Scope, ven_ranges: Sequence[VenRange]
) -> Iterator[Comparison]:
    """Compare the history of VENs and loads, and the network's energy, which is computed from VENs'."""
    for each in ven_ranges:
        part = replace(scope, vens=each)
        panels = _consumed(connection, raw.ven_telemetry, VenSampleFrame, "history", part)
        yield _entity_history(connection, ven_history, bucket_samples(panels, ["ven_id"], SLOT_S), part)
        loads = _consumed(connection, raw.ven_load_samples, LoadSampleFrame, "history", part)
        by_load = bucket_samples(loads, ["ven_id", "load_id"], SLOT_S)
        yield _entity_history(connection, load_history, by_load, part)
    if _is_kept(connection, SLOT_S, scope):
        yield _energy(connection, scope.within)


LANES: dict[str, Recomputation] = {"snapshot": snapshot_lane, "history": history_lane}


def _consumed(
    connection: Connection, table: Table, model: type[Frame], lane: str, scope: Scope
) -> pl.DataFrame:
    if scope.source is not None and table in raw.PARTITIONED:
        return scope.source.rows(table, model, scope.vens, scope.ven_ids)
    return fetch(connection, summary_queries.consumed(table, model, lane, scope), model)


def _network_history(connection: Connection, seconds: pl.DataFrame, scope: Scope) -> Iterator[Comparison]:
    slots = coarsen(seconds, [], SLOT_S)
    for resolution_s in NETWORK_RESOLUTIONS_S:
        if not _is_kept(connection, resolution_s, scope):
            continue
        if resolution_s <= SLOT_S:
            within, expected = scope.within, coarsen(seconds, [], resolution_s)
        else:
            within = widened(scope.within, resolution_s)
            expected = coarsen(_slots_around(connection, slots, scope.within, within), [], resolution_s)
        found = _buckets(connection, network_table, within, resolution_s)
        yield Comparison(network_table, found, expected.select(found.columns))


def _slots_around(
    connection: Connection, slots: pl.DataFrame, inner: TimeRange, outer: TimeRange
) -> pl.DataFrame:
    """Return slots of a range, and stored ones around it: a wide bucket may reach beyond a chunk."""
    around = [
        _buckets(connection, network_table, beside, SLOT_S).select(slots.columns)
        for beside in (TimeRange(outer.start, inner.start), TimeRange(inner.end, outer.end))
    ]
    return pl.concat([*around, slots])


def _entity_history(connection: Connection, table: Table, expected: pl.DataFrame, scope: Scope) -> Comparison:
    found = fetch_unchecked(connection, summary_queries.buckets(table, scope), FRAMES[table.name])
    if not _is_kept(connection, SLOT_S, scope):
        return Comparison(table, found.clear(), found.clear())
    return Comparison(table, found, expected.select(found.columns))


def _is_kept(connection: Connection, resolution_s: int, scope: Scope) -> bool:
    """Return whether retention keeps buckets of a scope; it does so while PostgreSQL has raw rows."""
    if scope.source is None:
        return True
    since = connection.execute(dropped_before(resolution_s)).scalar_one_or_none()
    return since is None or since <= scope.within.start


def _energy(connection: Connection, part: TimeRange) -> Comparison:
    """Compare energies without stale slots, which are recomputed anyway; wide slots are compared whole."""
    within = widened(part, WIDEST_S)
    is_current = summary_queries.is_current(ven_history.c.bucket, within)
    computed = totals_queries.network_energy_of(*is_current)
    model = FRAMES[energy_table.name]
    found = fetch_unchecked(connection, summary_queries.energy(within), model)
    return Comparison(energy_table, found, fetch_unchecked(connection, computed, model).select(found.columns))


def _buckets(connection: Connection, table: Table, within: TimeRange, resolution_s: int) -> pl.DataFrame:
    query = summary_queries.buckets(table, Scope(within, within.start), resolution_s)
    return fetch_unchecked(connection, query, FRAMES[table.name])


def _latest(
    connection: Connection, table: Table, rules: Latest, fresh: pl.DataFrame, scope: Scope
) -> Comparison:
    """Compare latest values with those recomputed from the scope's raw rows.

    Values that these rows no longer give are taken from older raw rows, if there are any.
    """
    ven_ids = fresh.get_column("ven_id").unique().to_list()
    found = fetch_unchecked(
        connection, summary_queries.latest(table, rules, scope, ven_ids), FRAMES[table.name]
    )
    parts = [without(found, rules, scope.within), fresh.select(found.columns)]
    rebuilt = newest(parts, rules)
    if forgotten := lost(found, rebuilt, rules):
        before = Scope(TimeRange(scope.since, scope.within.start), scope.since, forgotten)
        older = _older(connection, table, before).select(found.columns)
        rebuilt = newest([*parts, older], rules)
    return Comparison(table, found, rebuilt)


def _older(connection: Connection, table: Table, before: Scope) -> pl.DataFrame:
    def read(source: Table, model: type[Frame]) -> pl.DataFrame:
        return _consumed(connection, source, model, "snapshot", before)

    if table is ven_snapshots:
        return latest_vens(read(raw.ven_telemetry, ReportFrame), read(raw.ven_statuses, TransitionFrame))
    return latest_loads(
        read(raw.ven_load_samples, raw.EntryFrame), read(raw.ven_load_descriptions, raw.EntryFrame)
    )
