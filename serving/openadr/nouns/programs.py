"""Programs, whose deletion deletes their events, their reports and the subscriptions to them."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Engine

from schemas.openadr import ProgramRequest
from schemas.tables.openadr import openadr_programs
from serving.errors import ConflictError
from serving.openadr import queries
from serving.openadr.events.own_events import OWNER
from serving.openadr.nouns.events import Events
from serving.openadr.nouns.subscriptions import Subscriptions
from serving.openadr.objects import Context, Listener, TargetedObjects, Values, ignore
from serving.openadr.queries import OpenAdrProgramRow


class Programs(TargetedObjects[ProgramRequest, OpenAdrProgramRow]):
    object_type = "PROGRAM"
    table = openadr_programs
    row = OpenAdrProgramRow
    noun = "program"

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], datetime],
        events: Events,
        subscriptions: Subscriptions,
        listener: Listener = ignore,
    ) -> None:
        super().__init__(engine, clock, listener)
        self._events = events
        self._subscriptions = subscriptions

    def _values(self, context: Context, request: ProgramRequest, before: OpenAdrProgramRow | None) -> Values:
        if before is not None:
            _require_others(before)
        owner = context.client.client_id if before is None else before.client_id
        return Values(owner, request.targets or (), {"program_name": request.program_name})

    def _before_deletion(self, context: Context, row: OpenAdrProgramRow) -> None:
        _require_others(row)
        for event in queries.events_of_program(row.object_id).all(context.connection):
            self._events.delete_row(context, event)
        for each in queries.subscriptions_of_program(row.object_id).all(context.connection):
            self._subscriptions.delete_row(context, each)


def _require_others(row: OpenAdrProgramRow) -> None:
    """Refuse to change the program of this service: with it would go the events of `/api/events`."""
    if row.client_id == OWNER:
        raise ConflictError(
            f"Program {row.program_name!r} is this service's own: change its events, at /api/events."
        )
