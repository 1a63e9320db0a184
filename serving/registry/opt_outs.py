"""Opt-outs: times within which people have opted VENs out of events."""

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Delete, Engine, Insert, delete, insert, select

from schemas.api.opt_outs import OptOut, OptOutCreate
from schemas.db.queries import Query, fields_of
from schemas.tables.registry import ven_opt_outs
from schemas.times.instants import parse_iso
from serving.errors import InvalidRequestError, NotFoundError, no_ven
from serving.fleet import queries as fleet
from serving.registry import queries as registry
from serving.registry.writer import require_row

TIMES = ven_opt_outs.c


class OptOutRow(NamedTuple):
    """A time within which a VEN takes part in no event."""

    opt_out_id: str
    ven_id: str
    start_time: datetime
    end_time: datetime
    reason: str
    created_at: datetime


class OptOuts:
    """Reads and writes opt-outs; the jobs pass over VENs that have one, and release those in events."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def all(self, ven_id: str) -> list[OptOut]:
        """Return the opt-outs of a VEN, by start.

        Raises:
            NotFoundError: there is no such VEN.
        """
        with self._engine.connect() as connection:
            require_row(connection, fleet.registered_ven(ven_id).bound(), no_ven(ven_id))
            return [OptOut(*row) for row in _of_ven(ven_id).each(connection)]

    def one(self, ven_id: str, opt_out_id: str) -> OptOut:
        """Return one opt-out.

        Raises:
            NotFoundError: there is none with that id.
        """
        with self._engine.connect() as connection:
            row = _of_ven(ven_id, TIMES.opt_out_id == opt_out_id).first(connection)
        if row is None:
            raise NotFoundError(_no_opt_out(ven_id, opt_out_id))
        return OptOut(*row)

    def add(self, ven_id: str, request: OptOutCreate) -> OptOut:
        """Create an opt-out of a VEN.

        Raises:
            InvalidRequestError: it is over, or ends before it begins.
            NotFoundError: there is no such VEN.
        """
        now = self._clock()
        start, end = _instant("from", request.start), _instant("to", request.end)
        if end <= start:
            raise InvalidRequestError("to must be after from")
        if end <= now:
            raise InvalidRequestError("to must be still ahead")
        opt_out = OptOut(uuid.uuid4().hex, ven_id, start, end, request.reason, now)
        with self._engine.begin() as connection:
            require_row(connection, registry.lock_ven(ven_id), no_ven(ven_id))
            connection.execute(_add(opt_out))
        return opt_out

    def remove(self, ven_id: str, opt_out_id: str) -> None:
        """Delete an opt-out.

        Raises:
            NotFoundError: there is none with that id.
        """
        with self._engine.begin() as connection:
            if not connection.execute(_remove(ven_id, opt_out_id)).rowcount:
                raise NotFoundError(_no_opt_out(ven_id, opt_out_id))


def _of_ven(ven_id: str, *conditions: ColumnElement[bool]) -> Query[OptOutRow]:
    of_ven = select(*fields_of(OptOutRow, ven_opt_outs)).where(TIMES.ven_id == ven_id, *conditions)
    return Query(OptOutRow, of_ven.order_by(TIMES.start_time, TIMES.opt_out_id))


def _add(opt_out: OptOut) -> Insert:
    return insert(ven_opt_outs).values(
        ven_id=opt_out.ven_id,
        opt_out_id=opt_out.id,
        start_time=opt_out.start,
        end_time=opt_out.end,
        reason=opt_out.reason,
        created_at=opt_out.created_at,
    )


def _remove(ven_id: str, opt_out_id: str) -> Delete:
    return delete(ven_opt_outs).where(TIMES.ven_id == ven_id, TIMES.opt_out_id == opt_out_id)


def _no_opt_out(ven_id: str, opt_out_id: str) -> str:
    return f"VEN {ven_id!r} has no opt-out {opt_out_id!r}."


def _instant(name: str, text: str) -> datetime:
    try:
        return parse_iso(text)
    except ValueError as error:
        raise InvalidRequestError(f"{name} is {text[:40]!r}: {error}") from None
