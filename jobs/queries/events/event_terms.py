"""The SQL of events' terms beyond start, end and kW."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import MetaData, Select, Table, and_, false, func, or_, select, update
from sqlalchemy.sql.dml import Update

from schemas.db.queries import Query
from schemas.tables.events import LIVE_PARTICIPATIONS, commands, event_participations, event_requests, events

_PART = event_participations.c
_TAKES_PART = and_(_PART.status.in_(LIVE_PARTICIPATIONS), _PART.status != "planned")


class TermsRow(NamedTuple):
    """An event as its commands describe it."""

    event_id: str
    status: str
    start_time: datetime
    end_time: datetime
    direction: str
    randomize_start_s: float
    stagger_return_s: float
    import_limit_kw: float | None
    export_limit_kw: float | None
    has_intervals: bool


class AnnouncedIntervals(NamedTuple):
    """The intervals in the last command to a participant, if it has any."""

    ven_id: str
    intervals: list[dict[str, float]] | None


def with_optional_terms(event_ids: Sequence[str]) -> Query[TermsRow]:
    """Select the given events that have terms beyond a start, an end and a power to reduce."""
    term = events.c
    has_intervals = func.json_typeof(term.intervals) == "array"
    says_more = or_(
        term.direction != "reduce",
        has_intervals,
        term.randomize_start_s > 0,
        term.stagger_return_s > 0,
        term.import_limit_kw.is_not(None),
        term.export_limit_kw.is_not(None),
    )
    stored = [term[name] for name in TermsRow._fields[:-1]]
    terms = (
        select(*stored, func.coalesce(has_intervals, false()).label("has_intervals"))
        .where(term.event_id.in_(event_ids), says_more)
        .order_by(term.event_id)
    )
    return Query(TermsRow, terms)


def requests(event_id: str) -> Select[datetime, float]:
    """Select the powers that an event requests, by start time."""
    request = event_requests.c
    return (
        select(request.at, request.requested_reduction_kw)
        .where(request.event_id == event_id)
        .order_by(request.at)
    )


def available(event_id: str) -> Select[str, float]:
    """Select the available power of an event's participants."""
    return select(_PART.ven_id, _PART.available_kw).where(_PART.event_id == event_id, _TAKES_PART)


def announced_intervals(event_id: str) -> Query[AnnouncedIntervals]:
    """Select the intervals in the last command to each participant."""
    of_part = and_(commands.c.ven_id == _PART.ven_id, commands.c.command_id == _PART.command_id)
    announced = (
        select(_PART.ven_id, commands.c.data["intervals"].label("intervals"))
        .join(commands, of_part)
        .where(_PART.event_id == event_id, _TAKES_PART)
        .order_by(_PART.ven_id)
    )
    return Query(AnnouncedIntervals, announced)


def merge_shares(target: Table, staged: str) -> Update:
    """Update the shares of VENs whose last command contains them already."""
    twin = target.to_metadata(MetaData(), name=staged)
    return (
        update(target)
        .where(target.c.ven_id == twin.c.ven_id, target.c.event_id == twin.c.event_id)
        .values(requested_reduction_kw=twin.c.requested_reduction_kw)
    )
