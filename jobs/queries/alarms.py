"""What alarms measure, and the alarms themselves."""

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Delete, Select, Update, and_, delete, func, literal_column, or_, select, text, update
from sqlalchemy.dialects.postgresql import Insert, insert

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
"""Refused messages that one evaluation counts: a flood must not make counting slow."""

OWN_TOPIC = "^(?:oadr/meter|ven/loads|ven/status|ven/ack)/(.+)$"
"""A topic that ends in the id of its VEN."""

NOT_INGEST = (PRESENCE_WORKER, PEOPLE, REPLAY)

DATABASE_BYTES = text("SELECT pg_database_size(current_database())")


def successes() -> Select[Any]:
    return select(job_leases.c.job, job_leases.c.succeeded_at)


def fallen_offline(since: datetime) -> Select[int, int]:
    """How many VENs have gone offline since then and still are, and how many are online."""
    is_offline = and_(ven_snapshots.c.status == "offline", ven_snapshots.c.status_ts >= since)
    is_online = ven_snapshots.c.status == "online"
    fallen, online = (func.count().filter(is_it) for is_it in (is_offline, is_online))
    counts: Select[int, int] = select(fallen.label("fallen"), online.label("online"))
    return counts.join_from(ven_snapshots, vens, vens.c.ven_id == ven_snapshots.c.ven_id).where(
        vens.c.retired_at.is_(None), ven_snapshots.c.status.in_(("offline", "online"))
    )


def refused_by_reason(since: datetime) -> Select[Any]:
    refused = (
        select(rejected_messages.c.reason)
        .where(rejected_messages.c.received_at > since)
        .limit(MOST_COUNTED)
        .subquery()
    )
    count = func.count().label("messages")
    return select(refused.c.reason, count).group_by(refused.c.reason).order_by(count.desc())


def running_events(now: datetime) -> Select[Any]:
    """Events that run, since when they ask for what they ask for now, and how they go."""
    asked_since = (
        select(func.max(event_requests.c.at))
        .where(event_requests.c.event_id == events.c.event_id, event_requests.c.at <= now)
        .scalar_subquery()
    )
    return (
        select(
            events.c.event_id,
            func.greatest(events.c.started_at, events.c.start_time, asked_since).label("asked_since"),
            event_progress.c.efficiency_percent,
        )
        .outerjoin_from(events, event_progress, event_progress.c.event_id == events.c.event_id)
        .where(events.c.status == "active", events.c.ended_at.is_(None))
        .order_by(events.c.event_id)
    )


def vens_with_skewed_reports(since: datetime) -> Select[Any]:
    """All that is kept of VENs that have sent a report of another time than that of receipt."""
    recent = select(skewed_reports.c.ven_id).where(skewed_reports.c.received_at > since)
    return select(skewed_reports).where(skewed_reports.c.ven_id.in_(recent))


def vens_ahead(since: datetime) -> Select[Any]:
    """VENs whose messages were refused since they are ahead of time, as far as the topic names the VEN."""
    ahead = rejected_messages.c.reason == "timestamp_ahead"
    ven_id = func.substring(rejected_messages.c.topic, OWN_TOPIC).label("ven_id")
    recent = (
        select(ven_id).where(rejected_messages.c.received_at > since, ahead).limit(MOST_COUNTED).subquery()
    )
    return select(recent.c.ven_id).where(recent.c.ven_id.is_not(None)).distinct()


def vens_heard(since: datetime) -> Select[Any]:
    recent = or_(ven_snapshots.c.received_at > since, ven_snapshots.c.heard_at > since)
    return select(func.count()).select_from(ven_snapshots).where(recent)


def newest_from_broker() -> Select[Any]:
    """When ingest last stored or refused anything; null: never."""
    stored = (
        select(ingest_batches.c.received_at)
        .where(ingest_batches.c.worker.not_in(NOT_INGEST))
        .order_by(ingest_batches.c.batch_id.desc())
        .limit(1)
        .scalar_subquery()
    )
    refused = select(func.max(rejected_messages.c.received_at)).scalar_subquery()
    return select(func.greatest(stored, refused))


def open_alarms() -> Select[Any]:
    return (
        select(
            alarms.c.alarm_id,
            alarms.c.kind,
            alarms.c.subject,
            alarms.c.detail,
            alarms.c.value,
            alarms.c.worst_value,
            alarms.c.raised_at,
            alarms.c.calm_since,
        )
        .where(alarms.c.cleared_at.is_(None))
        .order_by(alarms.c.alarm_id)
    )


def raise_alarm(values: Mapping[str, Any]) -> Insert:
    return insert(alarms).values(**values)


def change_alarm(alarm_id: int, values: Mapping[str, Any]) -> Update:
    return update(alarms).where(alarms.c.alarm_id == alarm_id).values(**values)


def put_condition(kind: str, values: Mapping[str, Any]) -> Insert:
    statement = insert(alarm_conditions).values(kind=kind, **values)
    changes = {name: statement.excluded[name] for name in values}
    return statement.on_conflict_do_update(index_elements=["kind"], set_=changes)


def conditions() -> Select[Any]:
    """Each kind with its condition, and how many of its alarms are open."""
    is_open = and_(alarms.c.kind == alarm_conditions.c.kind, alarms.c.cleared_at.is_(None))
    count = select(func.count()).select_from(alarms).where(is_open).scalar_subquery()
    return select(alarm_conditions, count.label("open_alarms")).order_by(alarm_conditions.c.kind)


def forget_conditions(kinds: Collection[str]) -> Delete:
    """Delete the conditions of kinds that are not evaluated any more."""
    return delete(alarm_conditions).where(alarm_conditions.c.kind.not_in(kinds))


def cleared_before(at: datetime) -> Select[Any]:
    ctid: Any = literal_column("ctid")
    return select(ctid).select_from(alarms).where(alarms.c.cleared_at < at)


def bound_statements(longest: timedelta) -> Select[Any]:
    """To the end of the transaction, no statement may take longer."""
    milliseconds = f"{longest / timedelta(milliseconds=1):.0f}ms"
    return select(func.set_config("statement_timeout", milliseconds, literal_column("true")))
