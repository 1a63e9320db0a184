"""The SQL of samples of loads, of acknowledged commands, and of rejected messages."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    Date,
    FromClause,
    Select,
    and_,
    cast,
    column,
    func,
    literal,
    or_,
    select,
    true,
    union_all,
)

from schemas.db.queries import Query, Relation, fields_of
from schemas.tables.events import commands
from schemas.tables.history import SLOT_S, load_history
from schemas.tables.ledger import rejected_messages
from schemas.tables.raw import ven_load_samples
from schemas.tables.registry import loads
from schemas.tables.snapshots import load_snapshots
from schemas.times.time_ranges import TimeRange
from serving.page import NewestWithin

SAMPLE = ven_load_samples.c
SETTINGS = ("load_type", "name", "capacity_kw", "shed_capability_kw", "enabled", "priority")
"""Columns of a sample that the load's current value replaces where they are missing."""

SAMPLE_COLUMNS = ("load_id", "ts", "used_power_kw", "shed_power_kw", *SETTINGS)


class SampleRow(NamedTuple):
    """A sample of a load."""

    ts: datetime
    load_id: str
    used_power_kw: float | None
    shed_power_kw: float | None
    load_type: str | None
    name: str | None
    capacity_kw: float | None
    shed_capability_kw: float | None
    enabled: bool | None
    priority: int | None


class AcknowledgementRow(NamedTuple):
    """A command with its VEN's acknowledgement."""

    command_id: str
    ven_id: str
    event_id: str | None
    op: str
    status: str
    acknowledged_at: datetime
    data: Mapping[str, object]
    acknowledgement: object


def samples(
    ven_id: str,
    load_id: str | None,
    within: NewestWithin,
    archived: Mapping[str, list[object]] | None = None,
) -> Query[SampleRow]:
    """Select the newest samples of loads, newest first; missing fields are the load's current ones.

    Args:
        ven_id: of the loads.
        load_id: of one load; None: all of the VEN.
        within: range and limit.
        archived: columns of further samples of these loads: `SAMPLE_COLUMNS`.
    """
    stored = _newest(ven_load_samples, within.limit, _of_loads(ven_id, load_id, within))
    sample = (stored if archived is None else _with_archived(stored, archived, within.limit)).c
    people, latest = loads.c, load_snapshots.c
    settings = [func.coalesce(sample[name], people[name], latest[name]).label(name) for name in SETTINGS]
    rows = (
        select(sample.ts, sample.load_id, sample.used_power_kw, sample.shed_power_kw, *settings)
        .outerjoin(loads, and_(people.ven_id == ven_id, people.load_id == sample.load_id))
        .outerjoin(load_snapshots, and_(latest.ven_id == ven_id, latest.load_id == sample.load_id))
        .order_by(sample.ts.desc(), sample.load_id.desc())
    )
    return Query(SampleRow, rows)


def _newest(source: FromClause, limit: int, conditions: list[ColumnElement[bool]]) -> FromClause:
    columns = (source.c[name] for name in SAMPLE_COLUMNS)
    newest = select(*columns).where(*conditions).order_by(source.c.ts.desc(), source.c.load_id.desc())
    return newest.limit(limit).subquery()


def _with_archived(stored: FromClause, archived: Mapping[str, list[object]], limit: int) -> FromClause:
    """Return the newest of stored samples and of samples in arrays."""
    arrays = (literal(archived[name], ARRAY(SAMPLE[name].type)) for name in SAMPLE_COLUMNS)
    named = (column(name, SAMPLE[name].type) for name in SAMPLE_COLUMNS)
    rows = func.unnest(*arrays).table_valued(*named).render_derived()
    both = (select(*(source.c[name] for name in SAMPLE_COLUMNS)) for source in (stored, rows))
    return _newest(union_all(*both).subquery(), limit, [true()])


def samples_by_day(ven_id: str, load_id: str | None, slots: TimeRange) -> Query[tuple[date, Decimal]]:
    """Select the UTC days of a range of whole slots, and how many samples the summary counts in them."""
    bucket = load_history.c
    day = cast(func.timezone("UTC", bucket.bucket), Date).label("day")
    of_load = [] if load_id is None else [bucket.load_id == load_id]
    counts: Relation = (
        select(day, func.sum(bucket.samples))
        .where(bucket.ven_id == ven_id, *of_load, bucket.resolution_s == SLOT_S)
        .where(bucket.bucket >= slots.start, bucket.bucket < slots.end)
        .group_by(day)
    )
    return Query(tuple, counts)


def count_samples(ven_id: str, load_id: str | None, within: NewestWithin) -> Select[int]:
    return select(func.count()).select_from(ven_load_samples).where(*_of_loads(ven_id, load_id, within))


def acknowledgements(ven_id: str, within: NewestWithin) -> Query[AcknowledgementRow]:
    """Select the newest acknowledgements of a VEN, newest first."""
    command = commands.c
    answers = (
        select(*fields_of(AcknowledgementRow, commands))
        .where(command.ven_id == ven_id, command.acknowledgement.is_not(None))
        .where(_between(command.acknowledged_at, within))
        .order_by(command.acknowledged_at.desc(), command.command_id)
        .limit(within.limit)
    )
    return Query(AcknowledgementRow, answers)


TOPICS_OF_A_VEN = ("oadr/meter/", "ven/loads/", "ven/status/", "ven/ack/")
"""Prefixes of a VEN's own topics, before its id."""

START_BYTES = 1_000


class RejectedRow(NamedTuple):
    """A rejected message."""

    rejected_id: int
    received_at: datetime
    topic: str
    reason: str
    detail: str
    ts: datetime | None
    length: int
    start: bytes


def rejected(ven_id: str, within: NewestWithin) -> Query[RejectedRow]:
    """Select rejected messages of a VEN, newest first: those that name it, or came on its topics."""
    message = rejected_messages.c
    topics = [f"{prefix}{ven_id}" for prefix in TOPICS_OF_A_VEN]
    rows = (
        select(
            message.rejected_id,
            message.received_at,
            message.topic,
            message.reason,
            message.detail,
            message.ts,
            func.length(message.payload).label("length"),
            func.substring(message.payload, 1, START_BYTES).label("start"),
        )
        .where(
            or_(message.ven_id == ven_id, message.topic.in_(topics)), _between(message.received_at, within)
        )
        .order_by(message.received_at.desc(), message.rejected_id.desc())
        .limit(within.limit)
    )
    return Query(RejectedRow, rows)


def _of_loads(ven_id: str, load_id: str | None, within: NewestWithin) -> list[ColumnElement[bool]]:
    of_ven = [SAMPLE.ven_id == ven_id, _between(SAMPLE.ts, within)]
    return of_ven if load_id is None else [*of_ven, SAMPLE.load_id == load_id]


def _between(column: ColumnElement[datetime], within: NewestWithin) -> ColumnElement[bool]:
    bounds: list[ColumnElement[bool]] = [true()]
    if within.start is not None:
        bounds.append(column >= within.start)
    if within.end is not None:
        bounds.append(column <= within.end)
    return and_(*bounds)
