"""Events. Those that ask for power are events of this service; with one go its reports."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Engine, and_, or_

from schemas.openadr import EventRequest
from schemas.openadr_objects import Object
from schemas.openadr_shares import Share, with_own_share
from schemas.tables.openadr import openadr_events
from serving.errors import ConflictError
from serving.openadr import queries
from serving.openadr.auth.access import Client
from serving.openadr.event_times import event_end
from serving.openadr.events.power_events import PowerEvents
from serving.openadr.nouns.reports import Reports
from serving.openadr.objects import Conditions, Context, Listener, TargetedObjects, Values, ignore
from serving.openadr.page import EventFilter, ObjectPage
from serving.openadr.queries import OpenAdrEventRow


class Events(TargetedObjects[EventRequest, OpenAdrEventRow]):
    object_type = "EVENT"
    table = openadr_events
    row = OpenAdrEventRow
    noun = "event"

    def __init__(
        self,
        engine: Engine,
        clock: Callable[[], datetime],
        reports: Reports,
        power: PowerEvents,
        listener: Listener = ignore,
    ) -> None:
        super().__init__(engine, clock, listener)
        self._reports = reports
        self._power = power

    def listed(
        self, client: Client, conditions: Conditions, targets: Sequence[str] | None, page: ObjectPage
    ) -> Iterator[Object]:
        """As of any noun; the client of VENs sees what events ask of these."""
        shares = self._shares(client)
        for event in super().listed(client, conditions, targets, page):
            yield with_own_share(event, shares.get(event["id"]))

    def filtered(self, client: Client, wanted: EventFilter, now: datetime) -> Iterator[Object]:
        """Events that meet a filter, as `listed`."""
        conditions = []
        if wanted.program_id is not None:
            conditions.append(openadr_events.c.program_id == wanted.program_id)
        if wanted.is_active:
            conditions.append(queries.is_active(now))
        return self.listed(client, conditions, wanted.targets, wanted.page)

    def one(self, client: Client, object_id: str) -> Object:
        """As of any noun; the client of VENs sees what the event asks of these."""
        return with_own_share(super().one(client, object_id), self._shares(client).get(object_id))

    def _readable(
        self, client: Client, requested: Sequence[str] | None, shown: Sequence[str] | None
    ) -> Conditions:
        """Whoever has a part in an event may read it, whatever its targets; not in a list of some targets."""
        conditions = super()._readable(client, requested, shown)
        return conditions if requested is not None else _or_part(client, conditions)

    def _readable_by_id(self, client: Client, shown: Sequence[str] | None) -> Conditions:
        return _or_part(client, super()._readable_by_id(client, shown))

    def _shares(self, client: Client) -> Mapping[str, Share]:
        if client.reads_all:
            return {}
        with self._engine.connect() as connection:
            shares = queries.shares_of_client(client.client_id).all(connection)
        return {each.object_id: Share(each.share_kw, each.of_all_kw, each.flexibility_kw) for each in shares}

    def _values(self, context: Context, request: EventRequest, before: OpenAdrEventRow | None) -> Values:
        if context.connection.execute(queries.lock_program(request.program_id)).first() is None:
            raise ConflictError(f"programID: there is no program {request.program_id!r}.")
        owner = context.client.client_id if before is None else before.client_id
        made_at = context.now if before is None else before.created_at
        columns = {"program_id": request.program_id, "ends_at": event_end(request, made_at)}
        return Values(owner, request.targets or (), columns)

    def _after_change(
        self, context: Context, before: OpenAdrEventRow | None, row: OpenAdrEventRow, request: EventRequest
    ) -> None:
        followed = self._power.follow(context, before, row, request)
        values = {"event_id": followed.event_id, "flexibility_kw": followed.flexibility_kw}
        context.connection.execute(queries.change(self.table, row.object_id, values))

    def _locked(self, context: Context, object_id: str) -> OpenAdrEventRow:
        """As of any noun, with the event of ours first: in the order in which all lock them."""
        context.connection.execute(queries.lock_event_of_object(object_id))
        return super()._locked(context, object_id)

    def _before_deletion(self, context: Context, row: OpenAdrEventRow) -> None:
        if row.event_id is not None:
            self._power.cancel(context, row.event_id)
        for report in queries.reports_of_event(row.object_id).all(context.connection):
            self._reports.delete_row(context, report)


def _or_part(client: Client, conditions: Conditions) -> Conditions:
    return conditions if client.reads_all else [or_(and_(*conditions), queries.has_part(client.client_id))]
