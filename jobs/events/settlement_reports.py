"""Writes what an event delivered as reports of OpenADR, where its object requests that."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from typing import Self

import msgspec
import numpy as np
import polars as pl
from msgspec import structs
from sqlalchemy import Connection

from jobs.events.measuring import Measurement, Rules
from jobs.events.notifying import Notifier
from jobs.events.records import MeasuredEvent
from jobs.queries.events import openadr as queries
from jobs.queries.events.openadr import EventObject, StoredReport
from jobs.transforms.events.interval_energies import Energies, add_up, mean_cover
from jobs.transforms.events.report_intervals import Layout, ReportInterval, cells_of, intervals_of
from jobs.transforms.events.settlement_reports import (
    AGGREGATED,
    CLIENT_NAME,
    Measured,
    Method,
    Requested,
    in_blocks,
    report_bodies,
    report_id,
    requested_reports,
)
from schemas.openadr import EventRequest, ReportDescriptor
from schemas.times.time_ranges import TimeRange

INTERVALS_AT_ONCE = 20_000
"""Reports that are stored by one statement have about so many intervals."""


class SettlementReports:
    """The reports of one revision by the primary baseline, written as VENs are measured.

    A VEN's report belongs to its client, which may read it; all others to that of the event.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - what reports are made of
        self,
        connection: Connection,
        event_object: EventObject,
        requested: Sequence[Requested],
        window: TimeRange,
        method: Method,
        now: datetime,
        notifier: Notifier,
    ) -> None:
        self._connection = connection
        self._object = event_object
        self._requested = requested
        self._method = method
        self._now = now
        self._notifier = notifier
        request, made_at = msgspec.convert(event_object.body, EventRequest), event_object.created_at
        self._layouts: dict[Layout, list[ReportInterval]] = {
            layout: intervals_of(layout, request, made_at, window)
            for layout in {each.plan.layout for each in requested}
        }
        self.cells = cells_of(list(self._layouts.values()))
        self._sums: list[tuple[int, Energies]] = []

    @classmethod
    def requested(
        cls,
        connection: Connection,
        event: MeasuredEvent,
        revision: int,
        now: datetime,
        rules: Rules,
        notifier: Notifier,
    ) -> Self | None:
        """None where the event's object requests no reports, or there is none."""
        row = queries.object_of_event(event.event_id).first(connection)
        if row is None:
            return None
        descriptors = msgspec.convert(row.body.get("reportDescriptors", ()), list[ReportDescriptor])
        requested = requested_reports(descriptors)
        if not requested:
            return None
        method = Method(rules.primary, revision, rules.least_coverage_percent)
        return cls(connection, row, requested, event.window, method, now, notifier)

    def add(self, part: Measurement) -> None:
        """Write the reports of some VENs."""
        if part.energies is None:
            return
        rows = pl.DataFrame({"ven_id": part.ven_ids}, {"ven_id": pl.String}).with_row_index("row")
        vens = part.vens.filter(baseline=self._method.baseline).join(rows, on="ven_id", maintain_order="left")
        energies = part.energies.of_rows(vens.get_column("row").to_numpy())
        takes_part = ~vens.get_column("has_opted_out").to_numpy()
        self._sums.append((int(takes_part.sum()), energies.of_rows(np.flatnonzero(takes_part)).total()))
        self._write(self._of_vens(vens, energies))

    def finish(self, figures: pl.DataFrame) -> None:
        """Write the reports of all VENs together, whose figures in the settlement these are."""
        vens = sum(count for count, _ in self._sums)
        note = figures.filter(baseline=self._method.baseline).item(0, "note")
        energies = mean_cover(add_up([each for _, each in self._sums]), vens)
        self._write(self._reports("", None, Measured(AGGREGATED, energies, note is not None, vens == 0)))

    def _of_vens(self, vens: pl.DataFrame, energies: Energies) -> Iterator[dict[str, object]]:
        query = queries.owners(vens.get_column("ven_id").to_list())
        owners = {owner.ven_id: owner for owner in query.each(self._connection)}
        for place, (ven_id, note) in enumerate(vens.select("ven_id", "note").iter_rows()):
            owner = owners.get(ven_id)
            name, client_id = (ven_id, None) if owner is None else (owner.ven_name, owner.client_id)
            measured = Measured(name, energies.of_rows(np.array([place])).total(), note is not None)
            yield from self._reports(f"ven/{ven_id}", client_id, measured)

    def _reports(
        self, subject: str, client_id: str | None, measured: Measured
    ) -> Iterator[dict[str, object]]:
        """All reports of a VEN, or of all VENs, numbered."""
        bodies = chain.from_iterable(self._bodies(each, measured) for each in self._requested)
        for number, body in enumerate(bodies):
            yield {
                "object_id": report_id(self._object.object_id, subject, number),
                "client_id": client_id or self._object.client_id,
                "program_id": self._object.program_id,
                "event_id": self._object.object_id,
                "client_name": CLIENT_NAME,
                "body": body,
            }

    def _bodies(self, requested: Requested, measured: Measured) -> Iterator[dict[str, object]]:
        intervals = self._layouts[requested.plan.layout]
        merged = structs.replace(measured, energies=self._merged(measured.energies, intervals))
        return report_bodies(self._object.object_id, requested, self._method, intervals, merged)

    def _merged(self, energies: Energies, intervals: Sequence[ReportInterval]) -> Energies:
        place = {cell.start: number for number, cell in enumerate(self.cells)}
        return energies.merged([place[each.time.start] for each in intervals])

    def _write(self, reports: Iterator[dict[str, object]]) -> None:
        for block in in_blocks(reports, max(1, INTERVALS_AT_ONCE // len(self.cells))):
            rows = self._connection.execute(queries.put_reports(block, self._now))
            stored = list(map(StoredReport._make, rows))
            self._notifier.notify_of_reports(self._connection, stored, self._now)
