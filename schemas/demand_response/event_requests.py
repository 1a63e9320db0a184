"""The request of an event over time, kW. Without revisions it is one power from start to end."""

from datetime import datetime

from sqlalchemy import ColumnElement, func, literal, select

from schemas.tables.events import event_requests, events

_REQUEST = event_requests.c
Instant = ColumnElement[datetime]


def requested_kw(at: datetime | Instant) -> ColumnElement[float]:
    """Return the request of an event at a time; before its start, that at its start."""
    newest = (
        select(_REQUEST.requested_reduction_kw)
        .where(_REQUEST.event_id == events.c.event_id, _REQUEST.at <= func.greatest(at, events.c.start_time))
        .order_by(_REQUEST.at.desc())
        .limit(1)
        .correlate(events)
        .scalar_subquery()
    )
    return func.coalesce(newest, events.c.requested_reduction_kw)


def mean_requested_kw(until: Instant) -> ColumnElement[float]:
    """Return the mean request of an event from its start to a time."""
    following = func.lead(_REQUEST.at).over(order_by=_REQUEST.at)
    revisions = (
        select(
            _REQUEST.requested_reduction_kw.label("kw"),
            func.greatest(_REQUEST.at, events.c.start_time).label("since"),
            func.least(following, until).label("until"),
        )
        .where(_REQUEST.event_id == events.c.event_id)
        .correlate_except(event_requests)
        .lateral("revisions")
    )
    seconds = func.extract("epoch", func.greatest(revisions.c.until, revisions.c.since) - revisions.c.since)
    whole_s = func.extract("epoch", until - events.c.start_time)
    mean_kw = select(func.sum(revisions.c.kw * seconds)).correlate_except(revisions).scalar_subquery()
    return func.coalesce(mean_kw / func.nullif(whole_s, literal(0)), events.c.requested_reduction_kw)
