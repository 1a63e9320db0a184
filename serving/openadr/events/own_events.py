"""Events of `/api/events` as objects of OpenADR: events of a program of this service's own."""

import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import UNSET
from sqlalchemy import Connection

from schemas.api.events import Event
from schemas.db.queries import Query
from schemas.openadr import (
    EventPayloadDescriptor,
    EventRequest,
    Interval,
    IntervalPeriod,
    ObjectType,
    Operation,
    ProgramRequest,
    ReportDescriptor,
    ValuesMap,
    plain,
)
from schemas.openadr_objects import shown, shown_report
from schemas.openadr_shares import RELATIVE
from schemas.tables.openadr import openadr_events, openadr_programs
from serving.openadr import queries
from serving.openadr.auth.clients import RESERVED_ID
from serving.openadr.events.power import EXPORT_LIMIT, IMPORT_LIMIT, KW, LOWEST_PRIORITY
from serving.openadr.events.power_events import PREFIX
from serving.openadr.objects import Listener, ignore
from serving.openadr.queries import OpenAdrEventRow, OpenAdrProgramRow

PROGRAM = "gridgate"
OWNER = RESERVED_ID

REPORTS = [
    ReportDescriptor(payload_type="USAGE", reading_type="DIRECT_READ", units="KWH"),
    ReportDescriptor(payload_type="LOAD_SHED_DELTA_AVAILABLE", units=KW),
]


class OwnEvents:
    """Follows changes of events in their transactions."""

    def __init__(self, listener: Listener = ignore) -> None:
        self._listener = listener

    def follow(self, connection: Connection, event: Event, now: datetime) -> None:
        """Make, change or delete the object that an event is; not one that began as an object of OpenADR."""
        row = queries.object_of_event(event.id).first(connection)
        if event.id.startswith(PREFIX) or (row is not None and row.client_id != OWNER):
            return
        if event.status == "cancelled":
            if row is not None:
                self._delete(connection, row)
        elif row is None:
            self._create(connection, event, now)
        else:
            self._change(connection, row, event, now)

    def _create(self, connection: Connection, event: Event, now: datetime) -> None:
        program_id = self._program_id(connection, now)
        object_id = uuid.uuid4().hex
        values = {
            "object_id": object_id,
            "client_id": OWNER,
            "program_id": program_id,
            "event_id": event.id,
            "created_at": now,
            **_columns(event, program_id, now),
        }
        connection.execute(queries.add(openadr_events, values))
        self._tell(connection, "CREATE", "EVENT", object_id)

    def _change(self, connection: Connection, row: OpenAdrEventRow, event: Event, now: datetime) -> None:
        values = _columns(event, row.program_id, now)
        connection.execute(queries.change(openadr_events, row.object_id, values))
        self._tell(connection, "UPDATE", "EVENT", row.object_id)

    def _delete(self, connection: Connection, row: OpenAdrEventRow) -> None:
        self._tell(connection, "DELETE", "EVENT", row.object_id)
        for report in queries.reports_of_event(row.object_id).all(connection):
            self._listener(connection, "DELETE", "REPORT", shown_report(report), report.targets)
        connection.execute(queries.remove_reports_of_event(row.object_id))
        connection.execute(queries.remove(openadr_events, row.object_id))

    def _program_id(self, connection: Connection, now: datetime) -> str:
        """The program, which is made with the first event; of that name there is one, whoever made it."""
        values = {
            "object_id": uuid.uuid4().hex,
            "client_id": OWNER,
            "program_name": PROGRAM,
            "body": plain(ProgramRequest(program_name=PROGRAM)),
            "targets": [],
            "created_at": now,
            "modified_at": now,
        }
        made = connection.execute(queries.add_program_once(values)).scalar_one_or_none()
        if made is not None:
            self._tell(connection, "CREATE", "PROGRAM", made)
            return made
        return connection.execute(queries.program_named(PROGRAM)).scalar_one()

    def _tell(self, connection: Connection, operation: Operation, kind: ObjectType, object_id: str) -> None:
        row = _query(kind, object_id).one(connection)
        self._listener(connection, operation, kind, shown(row, kind), row.targets)


def _query(kind: ObjectType, object_id: str) -> Query[OpenAdrEventRow] | Query[OpenAdrProgramRow]:
    if kind == "EVENT":
        return queries.one(openadr_events, OpenAdrEventRow, object_id)
    return queries.one(openadr_programs, OpenAdrProgramRow, object_id)


def _columns(event: Event, program_id: str, now: datetime) -> dict[str, object]:
    request = event_request(event, program_id)
    return {
        "body": plain(request),
        "targets": sorted(set(request.targets or ())),
        "ends_at": event.end_time,
        "modified_at": now,
    }


def event_request(event: Event, program_id: str) -> EventRequest:
    """An event of ours as a client of OpenADR would send it; its targets are ids of groups and VENs."""
    spread = _duration(event.randomize_start_s) if event.randomize_start_s else None
    period = IntervalPeriod(
        start=_instant(event.start_time),
        duration=_duration((event.end_time - event.start_time).total_seconds()),
        randomize_start=spread,
    )
    return EventRequest(
        program_id=program_id,
        event_name=event.id,
        priority=max(LOWEST_PRIORITY - event.priority, 0),
        targets=[*event.targets.groups, *event.targets.ven_ids] or None,
        report_descriptors=REPORTS,
        payload_descriptors=[
            EventPayloadDescriptor(object_type="EVENT_PAYLOAD_DESCRIPTOR", payload_type=RELATIVE, units=KW)
        ],
        interval_period=period,
        intervals=list(_intervals(event)),
    )


def _intervals(event: Event) -> Iterator[Interval]:
    """One for each step; after the given ones the event asks for its whole power until its end."""
    sign = -1.0 if event.direction == "reduce" else 1.0
    for number, (start, end, kw) in enumerate(_steps(event)):
        duration = _duration((end - start).total_seconds())
        payloads = [ValuesMap(type=RELATIVE, values=[sign * kw]), *_limits(event)]
        period = IntervalPeriod(start=_instant(start), duration=duration)
        yield Interval(id=number, interval_period=period, payloads=payloads)


def _steps(event: Event) -> Iterator[tuple[datetime, datetime, float]]:
    start = event.start_time
    for each in event.intervals:
        end = min(start + timedelta(seconds=each.duration_s), event.end_time)
        if end > start:
            yield start, end, each.target_kw
        start = end
    if start < event.end_time:
        yield start, event.end_time, event.requested_reduction_kw


def _limits(event: Event) -> Iterator[ValuesMap]:
    for kind, limit_kw in ((IMPORT_LIMIT, event.import_limit_kw), (EXPORT_LIMIT, event.export_limit_kw)):
        if limit_kw is not UNSET:
            yield ValuesMap(type=kind, values=[limit_kw])


def _instant(at: datetime) -> str:
    return at.isoformat().replace("+00:00", "Z")


def _duration(seconds: float) -> str:
    return f"PT{seconds:.3f}".rstrip("0").rstrip(".") + "S"
