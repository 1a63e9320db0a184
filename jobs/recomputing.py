"""What the summary tables hold for a range, beside what the raw rows say that they should hold.

Only rows of batches that a table's lane has consumed count: the others are not in its summary, and are
not expected to be. So in one snapshot of the database, or with the lane held still, the two are equal.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import polars as pl
from msgspec import Struct
from sqlalchemy import Connection, Table

from jobs.models import LoadSampleFrame, ReportFrame, SlotEnergyFrame, TransitionFrame, VenSampleFrame
from jobs.queries import summary as summary_queries
from jobs.ranges import Range, widened
from jobs.rows import fetch, fetch_as_found
from jobs.transforms.buckets import bucket_samples, coarsen, network_energy
from jobs.transforms.latest import LOADS, VENS, Latest, latest_loads, latest_vens, lost, newest, without
from schemas.tables import FRAMES, Frame, raw
from schemas.tables.history import NETWORK_RESOLUTIONS_S, SLOT_S, load_history, ven_history
from schemas.tables.history import network_energy as energy_table
from schemas.tables.history import network_history as network_table
from schemas.tables.snapshots import load_snapshots, ven_snapshots


class Scope(Struct, frozen=True):
    """What to look at: a range on borders of slots, and the VENs, or all of them."""

    within: Range
    since: datetime
    """Raw rows before this may be gone."""

    ven_ids: Sequence[str] | None = None


class Comparison(Struct, frozen=True):
    """A table's rows in a scope, as found and as expected."""

    table: Table
    found: pl.DataFrame
    expected: pl.DataFrame

    @property
    def keys(self) -> list[str]:
        return [key.name for key in self.table.primary_key]


Recomputation = Callable[[Connection, Scope], Iterator[Comparison]]
"""Yields a table at a time, and reads the next when it is asked for it: what was mended meanwhile, counts."""


def snapshot_lane(connection: Connection, scope: Scope) -> Iterator[Comparison]:
    """Network history and the latest of VENs and loads."""
    reports = _consumed(connection, raw.ven_telemetry, ReportFrame, "snapshot", scope)
    if scope.ven_ids is None:
        yield from _network_history(connection, reports, scope)
    transitions = _consumed(connection, raw.ven_statuses, TransitionFrame, "snapshot", scope)
    yield _latest(connection, ven_snapshots, VENS, latest_vens(reports, transitions), scope)
    samples = _consumed(connection, raw.ven_load_samples, raw.EntryFrame, "snapshot", scope)
    descriptions = _consumed(connection, raw.ven_load_descriptions, raw.EntryFrame, "snapshot", scope)
    yield _latest(connection, load_snapshots, LOADS, latest_loads(samples, descriptions), scope)


def history_lane(connection: Connection, scope: Scope) -> Iterator[Comparison]:
    """History of VENs and loads, and the network's energy, which follows from that of the VENs."""
    panels = _consumed(connection, raw.ven_telemetry, VenSampleFrame, "history", scope)
    yield _entity_history(connection, ven_history, bucket_samples(panels, ["ven_id"], SLOT_S), scope)
    loads = _consumed(connection, raw.ven_load_samples, LoadSampleFrame, "history", scope)
    by_load = bucket_samples(loads, ["ven_id", "load_id"], SLOT_S)
    yield _entity_history(connection, load_history, by_load, scope)
    yield _energy(connection, scope.within)


LANES: dict[str, Recomputation] = {"snapshot": snapshot_lane, "history": history_lane}


def _consumed(
    connection: Connection, table: Table, model: type[Frame], lane: str, scope: Scope
) -> pl.DataFrame:
    return fetch(connection, summary_queries.consumed(table, model, lane, scope.within, scope.ven_ids), model)


def _network_history(connection: Connection, reports: pl.DataFrame, scope: Scope) -> Iterator[Comparison]:
    slots = bucket_samples(reports, [], SLOT_S)
    for resolution_s in NETWORK_RESOLUTIONS_S:
        if resolution_s <= SLOT_S:
            within, expected = scope.within, bucket_samples(reports, [], resolution_s)
        else:
            within = widened(scope.within, resolution_s)
            expected = coarsen(_slots_around(connection, slots, scope.within, within), [], resolution_s)
        found = _buckets(connection, network_table, within, resolution_s)
        yield Comparison(network_table, found, expected.select(found.columns))


def _slots_around(connection: Connection, slots: pl.DataFrame, inner: Range, outer: Range) -> pl.DataFrame:
    """Slots of a range, and those that the table has around it: a wide bucket may reach beyond a chunk."""
    around = [
        _buckets(connection, network_table, beside, SLOT_S).select(slots.columns)
        for beside in (Range(outer.start, inner.start), Range(inner.end, outer.end))
    ]
    return pl.concat([*around, slots])


def _entity_history(connection: Connection, table: Table, expected: pl.DataFrame, scope: Scope) -> Comparison:
    found = fetch_as_found(
        connection, summary_queries.buckets(table, scope.within, scope.ven_ids), FRAMES[table.name]
    )
    return Comparison(table, found, expected.select(found.columns))


def _energy(connection: Connection, within: Range) -> Comparison:
    """Slots that are stale are computed again anyway, and left out."""
    stale = connection.execute(summary_queries.stale(within)).scalars().all()
    slots = _buckets(connection, ven_history, within, SLOT_S).select(list(SlotEnergyFrame.types()))
    current = slots.filter(~pl.col("bucket").is_in(pl.Series(stale, dtype=slots.schema["bucket"]).implode()))
    found = fetch_as_found(connection, summary_queries.energy_not_stale(within), FRAMES[energy_table.name])
    return Comparison(energy_table, found, network_energy(current).select(found.columns))


def _buckets(connection: Connection, table: Table, within: Range, resolution_s: int) -> pl.DataFrame:
    query = summary_queries.buckets(table, within, resolution_s=resolution_s)
    return fetch_as_found(connection, query, FRAMES[table.name])


def _latest(
    connection: Connection, table: Table, kept: Latest, fresh: pl.DataFrame, scope: Scope
) -> Comparison:
    """What the range's messages gave is taken out, and put in again from the raw rows of the range.

    Where they no longer give it, older raw rows do, as far as there are any.
    """
    found = fetch_as_found(connection, summary_queries.latest(table, scope.ven_ids), FRAMES[table.name])
    parts = [without(found, kept, scope.within), fresh.select(found.columns)]
    rebuilt = newest(parts, kept)
    if forgotten := lost(found, rebuilt, kept):
        before = Scope(Range(scope.since, scope.within.start), scope.since, forgotten)
        older = _older(connection, table, before).select(found.columns)
        rebuilt = newest([*parts, older], kept)
    return Comparison(table, found, rebuilt)


def _older(connection: Connection, table: Table, before: Scope) -> pl.DataFrame:
    def read(source: Table, model: type[Frame]) -> pl.DataFrame:
        return _consumed(connection, source, model, "snapshot", before)

    if table is ven_snapshots:
        return latest_vens(read(raw.ven_telemetry, ReportFrame), read(raw.ven_statuses, TransitionFrame))
    return latest_loads(
        read(raw.ven_load_samples, raw.EntryFrame), read(raw.ven_load_descriptions, raw.EntryFrame)
    )
