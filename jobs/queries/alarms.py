"""The SQL of alarms and of their measures."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import (
    ColumnElement,
    Delete,
    Select,
    Update,
    and_,
    delete,
    func,
    literal_column,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert

from schemas.alarms import AlarmKind
from schemas.db.queries import Query, Relation, fields_of
from schemas.devices.protocols import vens_by_openadr
from schemas.tables.alarms import alarm_conditions, alarms
from schemas.tables.events import event_progress, event_requests, events
from schemas.tables.ledger import (
    PEOPLE,
    PRESENCE_WORKER,
    REPLAY,
    ingest_batches,
    job_leases,
    rejected_messages,
)
from schemas.tables.presence import skewed_reports
from schemas.tables.registry import vens
from schemas.tables.snapshots import ven_snapshots

MOST_COUNTED = 100_000
"""Most rejected messages that one evaluation counts: a flood must not make counting slow."""

OWN_TOPIC = "^(?:oadr/meter|ven/loads|ven/status|ven/ack)/(.+)$"
"""A topic that ends in the id of its VEN."""

NOT_INGEST = (PRESENCE_WORKER, PEOPLE, REPLAY)

DATABASE_BYTES = text("SELECT pg_database_size(current_database())")


def successes() -> Select[str, datetime]:
    return select(job_leases.c.job, job_leases.c.succeeded_at)


def fallen_offline(since: datetime) -> Select[int, int]:
    """Count VENs that have gone offline since a time and still are, and VENs that are online."""
    is_offline = and_(ven_snapshots.c.status == "offline", ven_snapshots.c.status_ts >= since)
    is_online = ven_snapshots.c.status == "online"
    fallen, online = (func.count().filter(is_it) for is_it in (is_offline, is_online))
    counts: Select[int, int] = select(fallen.label("fallen"), online.label("online"))
    return counts.join_from(ven_snapshots, vens, vens.c.ven_id == ven_snapshots.c.ven_id).where(
        vens.c.retired_at.is_(None), ven_snapshots.c.status.in_(("offline", "online"))
    )


def refused_by_reason(since: datetime) -> Select[str, int]:
    refused = (
        select(rejected_messages.c.reason)
        .where(rejected_messages.c.received_at > since)
        .limit(MOST_COUNTED)
        .subquery()
    )
    count = func.count().label("messages")
    return select(refused.c.reason, count).group_by(refused.c.reason).order_by(count.desc())


class RunningEvent(NamedTuple):
    """A running event; `efficiency_percent` of its current request."""

    event_id: str
    requested_since: datetime
    efficiency_percent: float | None


def running_events(now: datetime) -> Query[RunningEvent]:
    """Select running events, the start of their current request, and their efficiency."""
    requested_since = (
        select(func.max(event_requests.c.at))
        .where(event_requests.c.event_id == events.c.event_id, event_requests.c.at <= now)
        .scalar_subquery()
    )
    running = (
        select(
            events.c.event_id,
            func.greatest(events.c.started_at, events.c.start_time, requested_since).label("requested_since"),
            event_progress.c.efficiency_percent,
        )
        .outerjoin_from(events, event_progress, event_progress.c.event_id == events.c.event_id)
        .where(events.c.status == "active", events.c.ended_at.is_(None))
        .order_by(events.c.event_id)
    )
    return Query(RunningEvent, running)


def vens_with_skewed_reports(since: datetime) -> Relation:
    """Select the skewed reports of VENs that have sent a report dated otherwise than its receipt.

    Without OpenADR VENs: they report an interval after its end, dated by its start.
    """
    report = skewed_reports.c
    recent = select(report.ven_id).where(report.received_at > since)
    is_own_time = report.ven_id.not_in(vens_by_openadr())
    return select(skewed_reports).where(report.ven_id.in_(recent), is_own_time)


def vens_ahead(since: datetime) -> Select[str]:
    """Select VENs whose messages were rejected as `timestamp_ahead`, if the topic names the VEN."""
    ahead = rejected_messages.c.reason == "timestamp_ahead"
    ven_id = func.substring(rejected_messages.c.topic, OWN_TOPIC).label("ven_id")
    recent = (
        select(ven_id).where(rejected_messages.c.received_at > since, ahead).limit(MOST_COUNTED).subquery()
    )
    return select(recent.c.ven_id).where(recent.c.ven_id.is_not(None)).distinct()


def vens_reporting_since(since: datetime) -> Select[int]:
    recent = or_(ven_snapshots.c.received_at > since, ven_snapshots.c.heard_at > since)
    return select(func.count()).select_from(ven_snapshots).where(recent)


def newest_from_broker() -> Select[datetime]:
    """Select when ingest last stored or rejected anything; null: never."""
    stored = (
        select(ingest_batches.c.received_at)
        .where(ingest_batches.c.worker.not_in(NOT_INGEST))
        .order_by(ingest_batches.c.batch_id.desc())
        .limit(1)
        .scalar_subquery()
    )
    refused = select(func.max(rejected_messages.c.received_at)).scalar_subquery()
    return select(func.greatest(stored, refused))


class OpenAlarm(NamedTuple):
    """An alarm that is not cleared."""

    alarm_id: int
    kind: AlarmKind
    subject: str
    detail: str
    value: float
    worst_value: float
    raised_at: datetime
    calm_since: datetime | None = None


def open_alarms() -> Query[OpenAlarm]:
    is_open = alarms.c.cleared_at.is_(None)
    query = select(*fields_of(OpenAlarm, alarms)).where(is_open).order_by(alarms.c.alarm_id)
    return Query(OpenAlarm, query)


def raise_alarm(values: Mapping[str, object]) -> Insert:
    return insert(alarms).values(**values)


def change_alarm(alarm_id: int, values: Mapping[str, object]) -> Update:
    return update(alarms).where(alarms.c.alarm_id == alarm_id).values(**values)


def put_condition(kind: str, values: Mapping[str, object]) -> Insert:
    statement = insert(alarm_conditions).values(kind=kind, **values)
    changes = {name: statement.excluded[name] for name in values}
    return statement.on_conflict_do_update(index_elements=["kind"], set_=changes)


class ConditionRow(NamedTuple):
    """The condition of a kind, and the number of its open alarms."""

    kind: AlarmKind
    threshold: float
    value: float | None
    evaluated_at: datetime | None
    open_alarms: int


def conditions() -> Query[ConditionRow]:
    is_open = and_(alarms.c.kind == alarm_conditions.c.kind, alarms.c.cleared_at.is_(None))
    count = select(func.count()).select_from(alarms).where(is_open).scalar_subquery()
    stored = [alarm_conditions.c[name] for name in ConditionRow._fields[:-1]]
    query = select(*stored, count.label("open_alarms")).order_by(alarm_conditions.c.kind)
    return Query(ConditionRow, query)


def forget_conditions(kinds: Collection[str]) -> Delete:
    """Delete the conditions of kinds that are not evaluated any more."""
    return delete(alarm_conditions).where(alarm_conditions.c.kind.not_in(kinds))


def cleared_before(at: datetime) -> Select[str]:
    ctid: ColumnElement[str] = literal_column("ctid")
    return select(ctid).select_from(alarms).where(alarms.c.cleared_at < at)


def bound_statements(longest: timedelta) -> Select[str]:
    """Set the statement timeout to the end of the transaction."""
    milliseconds = f"{longest / timedelta(milliseconds=1):.0f}ms"
    return select(func.set_config("statement_timeout", milliseconds, literal_column("true")))
