"""Reads samples of loads, acknowledgements and rejected messages for user interfaces."""

from collections.abc import Iterator, Mapping, Sequence

from msgspec import structs
from sqlalchemy import Connection, Engine

from schemas.api.reports import CircuitHistory, CircuitSnapshot, RejectedMessage, VenEvent
from schemas.archive.folder import ArchiveFolder
from schemas.times.rounding import rounded
from serving.db.pending import constants_of_pending
from serving.db.reading import hold_raw, snapshot
from serving.errors import NotFoundError, no_load, no_ven
from serving.fleet import queries as fleet
from serving.page import NewestWithin
from serving.reports import queries
from serving.reports.archived import dropped_samples
from serving.reports.queries import AcknowledgementRow, RejectedRow, SampleRow


class ReportReader:
    """Reads what VENs have reported over time."""

    def __init__(self, engine: Engine, archive: ArchiveFolder | None = None) -> None:
        self._engine = engine
        self._archive = archive

    def circuits(self, ven_id: str, load_id: str | None, within: NewestWithin) -> CircuitHistory:
        """Return samples of one load or of all loads of a VEN, oldest first.

        Raises:
            NotFoundError: there is no such VEN, or it never reported such a load.
        """
        with snapshot(self._engine) as connection:
            hold_raw(connection)
            _require_ven(connection, ven_id)
            if load_id is not None:
                _require_load(connection, ven_id, load_id)
            rows, total = self._samples(connection, ven_id, load_id, within)
        return CircuitHistory(ven_id, load_id, [_circuit(row) for row in reversed(rows)], total)

    def _samples(
        self, connection: Connection, ven_id: str, load_id: str | None, within: NewestWithin
    ) -> tuple[list[SampleRow], int]:
        """Return the newest samples, newest first, and the number of all; also those of the archive."""
        dropped = dropped_samples(connection, self._archive, ven_id, load_id, within)
        hot = within if dropped is None else structs.replace(within, start=dropped.raw_since)
        total = connection.execute(queries.count_samples(ven_id, load_id, hot)).scalar_one()
        if dropped is None:
            return queries.samples(ven_id, load_id, hot).all(connection), total
        archived, more = dropped.newest(max(0, within.limit - total))
        return queries.samples(ven_id, load_id, hot, archived).all(connection), total + more

    def events(self, ven_id: str, within: NewestWithin) -> list[VenEvent]:
        """Return the acknowledgements of a VEN, newest first.

        Raises:
            NotFoundError: there is no such VEN.
        """
        with snapshot(self._engine) as connection:
            _require_ven(connection, ven_id)
            return [_ven_event(row) for row in queries.acknowledgements(ven_id, within).each(connection)]

    def rejected(self, ven_id: str, within: NewestWithin) -> list[RejectedMessage]:
        """Return rejected messages of a VEN, registered or not, newest first."""
        with snapshot(self._engine) as connection:
            return [_rejected(row) for row in queries.rejected(ven_id, within).all(connection)]


def _rejected(row: RejectedRow) -> RejectedMessage:
    return RejectedMessage(
        id=str(row.rejected_id),
        received_at=row.received_at,
        topic=row.topic,
        reason=row.reason,
        detail=row.detail,
        device_time=row.ts,
        bytes=row.length,
        start=row.start.decode(errors="replace"),
    )


def _require_load(connection: Connection, ven_id: str, load_id: str) -> None:
    reported = fleet.reported_load(ven_id, load_id).with_values(constants_of_pending(connection))
    if reported.first(connection) is None:
        raise NotFoundError(no_load(ven_id, load_id))


def _require_ven(connection: Connection, ven_id: str) -> None:
    if fleet.registered_ven(ven_id).first(connection) is None:
        raise NotFoundError(no_ven(ven_id))


def _circuit(row: SampleRow) -> CircuitSnapshot:
    """Convert a sample, by the rules of a load's capacity and shed capability."""
    capability_kw = row.shed_capability_kw
    if capability_kw is None:
        capability_kw = row.shed_power_kw or 0.0
    capacity_kw = row.capacity_kw
    if capacity_kw is None:
        capacity_kw = (row.used_power_kw or 0.0) + capability_kw
    return CircuitSnapshot(
        timestamp=row.ts,
        load_id=row.load_id,
        name=row.name or row.load_id,
        type=row.load_type or "unknown",
        capacity_kw=rounded(max(0.0, capacity_kw)),
        current_power_kw=rounded(row.used_power_kw or 0.0),
        shed_capability_kw=rounded(max(0.0, capability_kw)),
        enabled=row.enabled is not False,
        priority=row.priority or 0,
    )


REQUESTED = ("requestedShedKw", "requested_shed_kw", "requestedReductionKw", "reduceKw")
ACTUAL = ("actualShedKw", "actual_shed_kw")
CURTAILED = ("circuitsCurtailed", "circuits_curtailed")


def _ven_event(row: AcknowledgementRow) -> VenEvent:
    """Convert an acknowledgement; missing fields are taken from its `data`, else from the command."""
    answer = _object(row.acknowledgement)
    parts = (answer, _object(answer.get("data")))
    return VenEvent(
        id=row.command_id,
        ven_id=row.ven_id,
        event_id=row.event_id or "",
        correlation_id=row.command_id,
        op=row.op,
        status=row.status,
        timestamp=row.acknowledged_at,
        requested_shed_kw=_power_kw((*parts, _object(row.data)), REQUESTED),
        actual_shed_kw=_power_kw(parts, ACTUAL),
        circuits_curtailed=_curtailed(parts),
    )


def _power_kw(parts: Sequence[Mapping[str, object]], names: tuple[str, ...]) -> float:
    values = (value for value in _values(parts, names) if isinstance(value, int | float))
    return rounded(float(next((value for value in values if value is not True), 0.0)))


def _curtailed(parts: Sequence[Mapping[str, object]]) -> list[dict[str, object]]:
    lists = (value for value in _values(parts, CURTAILED) if isinstance(value, list))
    return [circuit for circuit in next(lists, []) if isinstance(circuit, dict)]


def _values(parts: Sequence[Mapping[str, object]], names: tuple[str, ...]) -> Iterator[object]:
    """Yield the values of the names, part by part."""
    return (part.get(name) for part in parts for name in names)


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
