"""Samples of loads, acknowledgements and refused messages, as user interfaces show them."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Engine, Row

from schemas.http import CircuitHistory, CircuitSnapshot, RejectedMessage, VenEvent
from schemas.times.rounding import rounded
from serving.db.pending import constants_of_pending
from serving.db.reading import hold_raw, snapshot
from serving.errors import NotFoundError, no_load, no_ven
from serving.fleet import queries as fleet
from serving.page import NewestWithin
from serving.reports import queries


class ReportReader:
    """Reads what VENs have reported over time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def circuits(self, ven_id: str, load_id: str | None, within: NewestWithin) -> CircuitHistory:
        """Samples of one load or of all loads of a VEN, oldest first.

        Raises:
            NotFoundError: there is no such VEN, or it never reported such a load.
        """
        with snapshot(self._engine) as connection:
            hold_raw(connection)
            _require_ven(connection, ven_id)
            if load_id is not None:
                _require_load(connection, ven_id, load_id)
            rows = connection.execute(queries.samples(ven_id, load_id, within)).all()
            total = connection.execute(queries.count_samples(ven_id, load_id, within)).scalar_one()
        return CircuitHistory(ven_id, load_id, [_circuit(row) for row in reversed(rows)], total)

    def events(self, ven_id: str, within: NewestWithin) -> list[VenEvent]:
        """The acknowledgements of a VEN, newest first.

        Raises:
            NotFoundError: there is no such VEN.
        """
        with snapshot(self._engine) as connection:
            _require_ven(connection, ven_id)
            return [_ven_event(row) for row in connection.execute(queries.acknowledgements(ven_id, within))]

    def rejected(self, ven_id: str, within: NewestWithin) -> list[RejectedMessage]:
        """Messages of a VEN that were refused, newest first; also of one that is not registered."""
        with snapshot(self._engine) as connection:
            return [_rejected(row) for row in connection.execute(queries.rejected(ven_id, within))]


def _rejected(row: Row[Any]) -> RejectedMessage:
    return RejectedMessage(
        id=str(row.rejected_id),
        received_at=row.received_at,
        topic=row.topic,
        reason=row.reason,
        detail=row.detail,
        device_time=row.ts,
        bytes=row.length,
        start=bytes(row.start).decode(errors="replace"),
    )


def _require_load(connection: Connection, ven_id: str, load_id: str) -> None:
    reported = fleet.reported_load(ven_id, load_id).with_values(constants_of_pending(connection))
    if reported.run(connection).first() is None:
        raise NotFoundError(no_load(ven_id, load_id))


def _require_ven(connection: Connection, ven_id: str) -> None:
    if connection.execute(fleet.registered_ven(ven_id).bound()).first() is None:
        raise NotFoundError(no_ven(ven_id))


def _circuit(row: Row[Any]) -> CircuitSnapshot:
    """By the rules of a load's capacity and shed capability."""
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


def _ven_event(row: Row[Any]) -> VenEvent:
    """From the VEN's answer, else from the command; some VENs put the fields into the answer's `data`."""
    answer = _object(row.acknowledgement)
    parts = (answer, _object(answer.get("data")))
    circuits = _first(parts, CURTAILED, list)
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
        circuits_curtailed=[circuit for circuit in circuits or [] if isinstance(circuit, dict)],
    )


def _power_kw(parts: tuple[Mapping[str, Any], ...], names: tuple[str, ...]) -> float:
    return rounded(float(_first(parts, names, (int, float)) or 0.0))


def _first(parts: tuple[Mapping[str, Any], ...], names: tuple[str, ...], kind: Any) -> Any:  # noqa: ANN401
    """The first value of this kind under one of the names; None without one."""
    values = (part.get(name) for part in parts for name in names)
    return next((value for value in values if isinstance(value, kind) and value is not True), None)


def _object(value: Any) -> Mapping[str, Any]:  # noqa: ANN401 - any JSON
    return value if isinstance(value, dict) else {}
