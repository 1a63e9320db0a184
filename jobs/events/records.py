"""What is recorded of an event and its VENs: reading it from the database."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Protocol, Self

import numpy as np
import polars as pl
from msgspec import Struct
from numpy.typing import NDArray
from sqlalchemy import Connection

from jobs.archive.progress import readable_since
from jobs.archive.reading import archived_samples
from jobs.queries.events import settlement as settlement_queries
from jobs.queries.events.settlement import MeasuredRow, SettledRow
from jobs.queries.summaries import summary as summary_queries
from jobs.summaries.rows import fetch, fetch_binary
from jobs.transforms.events.performance import SIGNS
from jobs.transforms.events.usage import cuts
from schemas.archive.folder import ArchiveFolder
from schemas.baseline_model.days import Occasion, Slots
from schemas.baseline_model.usage import Usage, chunks
from schemas.db.frame_models import pa
from schemas.db.horizons import dropped_before
from schemas.demand_response import participation_times
from schemas.demand_response import temperatures as temperature_queries
from schemas.tables.history import RAW_S, SLOT_S
from schemas.tables.metadata import Frame, Utc
from schemas.times.slots import SLOT
from schemas.times.time_ranges import TimeRange, widened

VENS_AT_ONCE = 1_000
"""Their slots are a million numbers: what is held in memory does not grow with the fleet."""

MEANS_TOGETHER = 50_000_000
"""So many means of slots are read in one pass over the fleet's history, and held: 400 MB."""

MEANS_AT_ONCE = 10_000
"""So many means of slots are in one statement, which holds them in memory, but at least those of one slot."""

LINES_AT_ONCE = 1_000_000
"""So many ids of VENs are mapped to rows at once."""

FEWEST_TOGETHER = 500
MOST_OF_FLEET = 0.4
"""From this share of the fleet on, to read all of it is cheaper than to look up each VEN."""

MEAN_BYTES = 8
SlotColumn = tuple[datetime, str, bytes]
"""A slot, the ids of VENs, one a line, and their means as PostgreSQL's binary numbers."""

PackedRow = tuple[str, bytes, bytes]
"""The id of a VEN, its slots, and their means, as PostgreSQL's binary values."""

POSTGRES_EPOCH_S = 946_684_800
"""PostgreSQL counts the microseconds of a `timestamptz` from 2000 on."""


class ParticipantFrame(Frame):
    """The request to each VEN, its first notification; `left_at`: when another event took it over."""

    ven_id: str
    requested_kw: float
    has_opted_out: bool
    told_at: Utc = pa.Field(nullable=True)
    opted_out_at: Utc = pa.Field(nullable=True)
    left_at: Utc = pa.Field(nullable=True)


class TakenFrame(Frame):
    """Events in which a VEN took part; when it was notified of each, and when it left, if before the end."""

    ven_id: str
    start: Utc
    end: Utc
    told_at: Utc = pa.Field(nullable=True)
    left_at: Utc = pa.Field(nullable=True)


class ShareRevisionFrame(Frame):
    """The request to a VEN from a time on, kW."""

    ven_id: str
    at: Utc
    requested_kw: float


class SampleFrame(Frame):
    """Raw samples, to cut slots by."""

    ven_id: str
    ts: Utc
    used_kw: float = pa.Field(nullable=True)


class RegionFrame(Frame):
    """The region whose temperatures count for a VEN."""

    ven_id: str
    region: str


class DegreesFrame(Frame):
    """Temperatures outside."""

    region: str
    ts: Utc
    temperature_c: float


class UsageFrame(Frame):
    """The usage in a VEN's last report; and when it was last heard."""

    ven_id: str
    used_kw: float
    status: str = pa.Field(nullable=True)
    heard_at: Utc


class MeasuredEvent(Struct, frozen=True):
    """An event from its start to its end, or to when it was stopped."""

    event_id: str
    window: TimeRange
    notified_at: datetime
    requested_kw: float
    direction: str = "reduce"
    randomize_start_s: float = 0.0

    @classmethod
    def of(cls, row: MeasuredRow | SettledRow) -> Self:
        window = TimeRange(row.start_time, row.end_time)
        requested_kw = row.requested_reduction_kw
        return cls(row.event_id, window, row.notify_at, requested_kw, row.direction, row.randomize_start_s)

    @property
    def sign(self) -> float:
        """The sign of baseline less usage with which a delivery is positive."""
        return SIGNS[self.direction]

    @property
    def occasion(self) -> Occasion:
        return Occasion(self.window.start, self.window.end, self.notified_at)


class Records(Protocol):
    """What is recorded of an event and its VENs: all that a settlement is made of, besides the rules."""

    def participants(self, event: MeasuredEvent) -> pl.DataFrame: ...

    def shares(self, event: MeasuredEvent) -> pl.DataFrame: ...

    def sampled_cuts(self, window: TimeRange) -> list[TimeRange]:
        """The parts that the window cuts out of slots, as far as raw rows are kept."""
        ...

    def usages(
        self, people: pl.DataFrame, within: Sequence[TimeRange]
    ) -> Iterator[tuple[pl.DataFrame, Usage]]:
        """At most `VENS_AT_ONCE` VENs at a time, and what they used."""
        ...

    def taken(self, ven_ids: Sequence[str], but: str, within: TimeRange) -> pl.DataFrame:
        """Events in which VENs took part, but one."""
        ...

    def slow_vens(self, ven_ids: Sequence[str], within: TimeRange) -> list[str]: ...

    def samples(self, ven_ids: Sequence[str], within: list[TimeRange]) -> pl.DataFrame: ...

    def regions(self, ven_ids: Sequence[str]) -> pl.DataFrame:
        """The region whose temperatures count for each VEN."""
        ...

    def temperatures(self, regions: Sequence[str], within: TimeRange) -> pl.DataFrame: ...


class DatabaseRecords:
    """What the database has recorded."""

    def __init__(self, connection: Connection, archive: ArchiveFolder | None = None) -> None:
        self._connection = connection
        self._archive = archive

    def participants(self, event: MeasuredEvent) -> pl.DataFrame:
        return participants(self._connection, event)

    def shares(self, event: MeasuredEvent) -> pl.DataFrame:
        return fetch(self._connection, settlement_queries.shares(event.event_id), ShareRevisionFrame)

    def sampled_cuts(self, window: TimeRange) -> list[TimeRange]:
        return sampled_cuts(self._connection, window, self._archive)

    def usages(
        self, people: pl.DataFrame, within: Sequence[TimeRange]
    ) -> Iterator[tuple[pl.DataFrame, Usage]]:
        """Of most of a fleet usage is read together, else VEN by VEN."""
        connection = self._connection
        vens = connection.execute(settlement_queries.registered_vens()).scalar_one()
        if people.height < FEWEST_TOGETHER or people.height < MOST_OF_FLEET * vens:
            for some in some_at_a_time(people):
                yield some, read_usage(connection, some.get_column("ven_id").to_list(), within)
            return
        together = max(VENS_AT_ONCE, MEANS_TOGETHER // len(slots_of(within)))
        for many in people.iter_slices(together):
            yield from self._usages_of_most(many, within, is_part=many.height < people.height)

    def _usages_of_most(
        self, people: pl.DataFrame, within: Sequence[TimeRange], *, is_part: bool
    ) -> Iterator[tuple[pl.DataFrame, Usage]]:
        """Usage that is read together; its array is freed before the next one is made."""
        ven_ids = people.get_column("ven_id").to_list()
        ids = (ven_ids[0], ven_ids[-1]) if is_part else None
        usage = read_usage_of_most(self._connection, ven_ids, within, ids)
        for first in range(0, people.height, VENS_AT_ONCE):
            some = people.slice(first, VENS_AT_ONCE)
            kw = np.ascontiguousarray(usage.kw[first : first + some.height])
            yield some, Usage(some.get_column("ven_id").to_list(), usage.slots, kw)

    def taken(self, ven_ids: Sequence[str], but: str, within: TimeRange) -> pl.DataFrame:
        return fetch(self._connection, participation_times.taken(ven_ids, but, within), TakenFrame)

    def slow_vens(self, ven_ids: Sequence[str], within: TimeRange) -> list[str]:
        return slow_vens(self._connection, ven_ids, within)

    def samples(self, ven_ids: Sequence[str], within: list[TimeRange]) -> pl.DataFrame:
        return read_samples(self._connection, ven_ids, within, self._archive)

    def regions(self, ven_ids: Sequence[str]) -> pl.DataFrame:
        return fetch(self._connection, temperature_queries.regions_of(ven_ids), RegionFrame)

    def temperatures(self, regions: Sequence[str], within: TimeRange) -> pl.DataFrame:
        return fetch(self._connection, temperature_queries.temperatures(regions, within), DegreesFrame)


def participants(connection: Connection, event: MeasuredEvent) -> pl.DataFrame:
    return fetch(connection, settlement_queries.participants(event.event_id), ParticipantFrame)


def read_usage(connection: Connection, ven_ids: Sequence[str], within: Sequence[TimeRange]) -> Usage:
    """The means of the slots of some ranges, which do not overlap."""
    usage = _read_by_ven(connection, ven_ids, within)
    return _with_wide_slots(connection, usage, within)


def read_usage_of_most(
    connection: Connection,
    ven_ids: Sequence[str],
    within: Sequence[TimeRange],
    ids: tuple[str, str] | None = None,
) -> Usage:
    """As `read_usage`, of VENs that are a large part of the fleet: in one pass over its history.

    History comes slot by slot, so the array is filled by slot; its rows are a view.

    Args:
        connection: within a transaction.
        ven_ids: at least one.
        within: ranges that do not overlap.
        ids: the first and the last of `ven_ids`, if these are only a part of those that are measured.
    """
    slots = slots_of(within)
    by_slot = _nothing(len(slots), len(ven_ids) + 1)  # the last column takes VENs that are not asked for
    rows = pl.Enum(ven_ids)
    columns = _slot_columns(connection, within, len(ven_ids), ids)
    while some := list(islice(columns, -(-LINES_AT_ONCE // len(ven_ids)))):
        _fill(by_slot, slots, rows, some)
    usage = Usage(list(ven_ids), slots, by_slot[:, : len(ven_ids)].T)
    return _with_wide_slots(connection, usage, within)


def _slot_columns(
    connection: Connection, within: Sequence[TimeRange], vens: int, ids: tuple[str, str] | None
) -> Iterator[SlotColumn]:
    """The columns of the slots with samples in some ranges, of few slots at a time."""
    length = max(1, MEANS_AT_ONCE // vens) * SLOT
    for part in within:
        start = part.start
        while start < part.end:
            some = TimeRange(start, min(start + length, part.end))
            yield from fetch_binary(connection, settlement_queries.slot_columns(some, ids))
            start = some.end


def _fill(by_slot: NDArray[np.float64], slots: Slots, rows: pl.Enum, columns: Sequence[SlotColumn]) -> None:
    """Write the means of some slots into their places."""
    lines = pl.Series([ven_ids for _, ven_ids, _ in columns]).str.split("\n").explode()
    row = lines.cast(rows, strict=False).to_physical().fill_null(by_slot.shape[1] - 1).to_numpy()
    column = np.searchsorted(slots, [int(slot.timestamp()) // SLOT_S for slot, *_ in columns])
    counts = [len(means) // MEAN_BYTES for *_, means in columns]
    by_slot[np.repeat(column, counts), row] = np.frombuffer(b"".join(means for *_, means in columns), ">f8")


def _read_by_ven(connection: Connection, ven_ids: Sequence[str], within: Sequence[TimeRange]) -> Usage:
    # Range by range: rows of one day lie close together, whoever's they are.
    queries = (settlement_queries.packed_slot_means(ven_ids, part) for part in within)
    rows = [row for query in queries for row in fetch_binary(connection, query)]
    slots = slots_of(within)
    return Usage(list(ven_ids), slots, _unpacked(rows, ven_ids, slots))


def _with_wide_slots(connection: Connection, usage: Usage, within: Sequence[TimeRange]) -> Usage:
    ven_ids = usage.ven_ids
    slow = slow_vens(connection, ven_ids, TimeRange(within[0].start, within[-1].end)) if within else []
    place = {ven_id: row for row, ven_id in enumerate(ven_ids)} if slow else {}
    for some in chunks(slow, VENS_AT_ONCE):
        usage.kw[[place[ven_id] for ven_id in some]] = _read_slow(connection, some, usage.slots, within)
    return usage


def slow_vens(connection: Connection, ven_ids: Sequence[str], within: TimeRange) -> list[str]:
    """Those of some VENs whose meters have slots of more than five minutes at any time in a range."""
    return list(connection.execute(settlement_queries.slow_vens(ven_ids, within)).scalars())


def _read_slow(
    connection: Connection, ven_ids: Sequence[str], slots: Slots, within: Sequence[TimeRange]
) -> NDArray[np.float64]:
    queries = (settlement_queries.packed_wide_means(ven_ids, part) for part in within)
    rows = [row for query in queries for row in fetch_binary(connection, query)]
    return _unpacked(rows, ven_ids, slots)


def _nothing(vens: int, slots: int) -> NDArray[np.float64]:
    return np.full((vens, slots), np.nan)


def _unpacked(rows: Sequence[PackedRow], ven_ids: Sequence[str], slots: Slots) -> NDArray[np.float64]:
    """Means by VEN and slot, of rows with a VEN's id, slots and means, as PostgreSQL sends them."""
    kw = _nothing(len(ven_ids), len(slots))
    place = {ven_id: row for row, ven_id in enumerate(ven_ids)}
    if rows:
        at_us = np.frombuffer(b"".join(row[1] for row in rows), dtype=">i8")
        number = (at_us // 1_000_000 + POSTGRES_EPOCH_S) // SLOT_S
        ven = np.repeat([place[row[0]] for row in rows], [len(row[1]) // 8 for row in rows])
        kw[ven, np.searchsorted(slots, number)] = np.frombuffer(b"".join(row[2] for row in rows), dtype=">f8")
    return kw


def slots_of(within: Sequence[TimeRange]) -> Slots:
    numbers = [
        np.arange(part.start.timestamp() // SLOT_S, -(-part.end.timestamp() // SLOT_S), dtype=np.int64)
        for part in within
    ]
    return np.unique(np.concatenate(numbers)) if numbers else np.empty(0, dtype=np.int64)


def read_window(connection: Connection, ven_ids: Sequence[str], window: TimeRange) -> Usage:
    """The means of the slots that a window reaches into."""
    return read_usage(connection, ven_ids, [widened(window, SLOT_S)])


def read_samples(
    connection: Connection,
    ven_ids: Sequence[str],
    within: list[TimeRange],
    archive: ArchiveFolder | None = None,
) -> pl.DataFrame:
    """The raw samples of some VENs in ranges within days; those of dropped days from the archive."""
    samples = [pl.DataFrame(schema=SampleFrame.types())]
    if within:
        connection.execute(summary_queries.HOLD_RAW)
    dropped_until = connection.execute(dropped_before(RAW_S)).scalar_one_or_none()
    kept = [part for part in within if dropped_until is None or part.start >= dropped_until]
    if kept:
        samples.append(fetch(connection, settlement_queries.samples(ven_ids, kept), SampleFrame))
    for part in within:
        if archive is not None and part not in kept:
            rows = archived_samples(connection, archive, ven_ids, part)
            samples.append(SampleFrame.checked(rows.rename({"used_power_kw": "used_kw"})))
    return pl.concat(samples)


def sampled_cuts(
    connection: Connection, window: TimeRange, archive: ArchiveFolder | None = None
) -> list[TimeRange]:
    """The parts that the window cuts out of slots, as far as there are raw rows."""
    since = readable_since(connection, archive)
    return [cut for cut in cuts(window) if since is None or cut.start >= since]


def some_at_a_time(people: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """At least once: an event without participants is settled as well."""
    yield from people.iter_slices(VENS_AT_ONCE) if people.height else [people]
