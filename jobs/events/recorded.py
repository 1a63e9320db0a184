"""What a settlement was made of, kept as frames: recorded while it is made, and read again."""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl

from jobs.events.records import (
    DegreesFrame,
    MeasuredEvent,
    ParticipantFrame,
    Records,
    RegionFrame,
    SampleFrame,
    ShareRevisionFrame,
    TakenFrame,
    slots_of,
    some_at_a_time,
)
from schemas.baseline_model.days import Slots
from schemas.baseline_model.usage import Usage
from schemas.tables.history import SLOT_S
from schemas.tables.metadata import Frame, Utc
from schemas.times.time_ranges import TimeRange

US = SLOT_S * 1_000_000


class SlotUsageFrame(Frame):
    """Mean power in slots that have samples."""

    ven_id: str
    slot: Utc
    used_kw: float


class WideSlotsFrame(Frame):
    """VENs that have wide slots at any time in a range."""

    ven_id: str
    start: Utc
    end: Utc


INPUTS: dict[str, type[Frame]] = {
    "participants": ParticipantFrame,
    "shares": ShareRevisionFrame,
    "usage": SlotUsageFrame,
    "other_events": TakenFrame,
    "wide_slots": WideSlotsFrame,
    "samples": SampleFrame,
    "regions": RegionFrame,
    "temperatures": DegreesFrame,
}
"""The frames that a settlement is made of, by name."""


class Recorder:
    """Records of others, of which every answer is kept; they are given in the order of their keys.

    The order of rows is the order in which numbers are added up, so it must be the same the next time.
    """

    def __init__(self, records: Records) -> None:
        self._records = records
        self._answers: dict[str, list[pl.DataFrame]] = {name: [] for name in INPUTS}
        self.sampled: list[TimeRange] = []

    def frames(self) -> dict[str, pl.DataFrame]:
        """All answers so far, each row once, by the names of `INPUTS`."""
        return {name: _once(model, self._answers[name]) for name, model in INPUTS.items()}

    def participants(self, event: MeasuredEvent) -> pl.DataFrame:
        return self._kept("participants", self._records.participants(event))

    def shares(self, event: MeasuredEvent) -> pl.DataFrame:
        return self._kept("shares", self._records.shares(event))

    def sampled_cuts(self, window: TimeRange) -> list[TimeRange]:
        self.sampled = self._records.sampled_cuts(window)
        return self.sampled

    def usages(
        self, people: pl.DataFrame, within: Sequence[TimeRange]
    ) -> Iterator[tuple[pl.DataFrame, Usage]]:
        for some, usage in self._records.usages(people, within):
            self._answers["usage"].append(_long(usage))
            yield some, usage

    def taken(self, ven_ids: Sequence[str], but: str, within: TimeRange) -> pl.DataFrame:
        return self._kept("other_events", self._records.taken(ven_ids, but, within))

    def slow_vens(self, ven_ids: Sequence[str], within: TimeRange) -> list[str]:
        slow = sorted(self._records.slow_vens(ven_ids, within))
        rows = [(ven_id, within.start, within.end) for ven_id in slow]
        self._kept("wide_slots", pl.DataFrame(rows, WideSlotsFrame.types(), orient="row"))
        return slow

    def samples(self, ven_ids: Sequence[str], within: list[TimeRange]) -> pl.DataFrame:
        return self._kept("samples", self._records.samples(ven_ids, within))

    def regions(self, ven_ids: Sequence[str]) -> pl.DataFrame:
        return self._kept("regions", self._records.regions(ven_ids))

    def temperatures(self, regions: Sequence[str], within: TimeRange) -> pl.DataFrame:
        return self._kept("temperatures", self._records.temperatures(regions, within))

    def _kept(self, name: str, answer: pl.DataFrame) -> pl.DataFrame:
        ordered = answer.sort(answer.columns)
        self._answers[name].append(ordered)
        return ordered


def _once(model: type[Frame], answers: Sequence[pl.DataFrame]) -> pl.DataFrame:
    empty = pl.DataFrame(schema=model.types())
    rows = pl.concat([empty, *(answer.select(empty.columns) for answer in answers)]).unique()
    return rows.sort(rows.columns)


def _long(usage: Usage) -> pl.DataFrame:
    row, column = np.nonzero(~np.isnan(usage.kw))
    return pl.DataFrame(
        {
            "ven_id": pl.Series(usage.ven_ids, dtype=pl.String).gather(row),
            "slot": pl.Series(usage.slots[column] * US).cast(pl.Datetime("us", "UTC")),
            "used_kw": usage.kw[row, column],
        }
    )


class RecordedRecords:
    """Records that are frames: what a `Recorder` has kept."""

    def __init__(self, frames: dict[str, pl.DataFrame], sampled: list[TimeRange]) -> None:
        self._frames = frames
        self._sampled = sampled

    def participants(self, _event: MeasuredEvent) -> pl.DataFrame:
        return self._frames["participants"]

    def shares(self, _event: MeasuredEvent) -> pl.DataFrame:
        return self._frames["shares"]

    def sampled_cuts(self, _window: TimeRange) -> list[TimeRange]:
        return self._sampled

    def usages(
        self, people: pl.DataFrame, within: Sequence[TimeRange]
    ) -> Iterator[tuple[pl.DataFrame, Usage]]:
        for some in some_at_a_time(people):
            yield some, self._usage(some.get_column("ven_id").to_list(), slots_of(within))

    def _usage(self, ven_ids: list[str], slots: Slots) -> Usage:
        places = pl.DataFrame({"ven_id": ven_ids}, {"ven_id": pl.String}).with_row_index("row")
        columns = pl.DataFrame({"number": slots}).with_row_index("column")
        number = (pl.col("slot").dt.epoch("us") // US).alias("number")
        found = (
            self._of("usage", ven_ids)
            .with_columns(number)
            .join(places, on="ven_id")
            .join(columns, on="number")
        )
        kw = np.full((len(ven_ids), len(slots)), np.nan)
        row, column, used_kw = (found.get_column(name).to_numpy() for name in ("row", "column", "used_kw"))
        kw[row, column] = used_kw
        return Usage(ven_ids, slots, kw)

    def taken(self, ven_ids: Sequence[str], _but: str, within: TimeRange) -> pl.DataFrame:
        rows = self._of("other_events", ven_ids)
        return rows.filter(pl.col("start") < within.end, pl.col("end") > within.start)

    def slow_vens(self, ven_ids: Sequence[str], within: TimeRange) -> list[str]:
        rows = self._of("wide_slots", ven_ids).filter(start=within.start, end=within.end)
        return rows.get_column("ven_id").to_list()

    def samples(self, ven_ids: Sequence[str], within: list[TimeRange]) -> pl.DataFrame:
        ts, nothing = pl.col("ts"), pl.lit(value=False)
        inside = (ts.is_between(part.start, part.end, closed="left") for part in within)
        return self._of("samples", ven_ids).filter(pl.any_horizontal(nothing, *inside))

    def regions(self, ven_ids: Sequence[str]) -> pl.DataFrame:
        return self._of("regions", ven_ids)

    def temperatures(self, regions: Sequence[str], within: TimeRange) -> pl.DataFrame:
        rows = self._frames["temperatures"].filter(pl.col("region").is_in(list(regions)))
        return rows.filter(pl.col("ts").is_between(within.start, within.end, closed="left"))

    def _of(self, name: str, ven_ids: Sequence[str]) -> pl.DataFrame:
        """The rows of some VENs."""
        wanted = pl.DataFrame({"ven_id": list(ven_ids)}, {"ven_id": pl.String})
        return self._frames[name].join(wanted, on="ven_id", how="semi", maintain_order="left")
