"""The SQL of VENs' participation times, for baselines and settlements."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import Text, and_, any_, case, false, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import ARRAY

from schemas.db.queries import Relation
from schemas.tables.events import event_participations, events
from schemas.times.time_ranges import TimeRange

_PART = event_participations.c
ended_at = func.least(events.c.end_time, events.c.ended_at)
"""The planned end, or the time of a stop."""

NOTICE = timedelta(minutes=5)
"""A VEN that rejects so soon after its notification, and has not begun, opted out before the start."""

OPTED_OUT_BEFORE = or_(
    and_(
        _PART.status == "opted_out",
        or_(
            func.coalesce(_PART.opted_out_at <= events.c.start_time, true()),
            and_(
                _PART.acknowledged_at.is_(None),
                _PART.started_at.is_(None),
                _PART.opted_out_at <= _PART.notified_at + NOTICE,
            ),
        ),
    ),
    func.coalesce(_PART.released_at <= events.c.start_time, false()),
)
"""Whether a VEN left the event before it began for it: by rejection within the notice, or because it was not
requested any more.
"""

left_at = func.coalesce(case((_PART.finished_at < ended_at, _PART.finished_at)), _PART.released_at)
"""When a VEN left an event that continued without it; null if it stayed."""


def taken(ven_ids: Sequence[str], but: str, within: TimeRange) -> Relation:
    """Select other events in which VENs took part and were notified."""
    ids = func.cast(literal(list(ven_ids), ARRAY(Text)), ARRAY(Text))
    return participations(within).where(_PART.ven_id == any_(ids), _PART.event_id != but)


def participations(within: TimeRange) -> Relation:
    """Select participation times of notified VENs in events that overlap a range."""
    return (
        select(
            _PART.ven_id,
            events.c.start_time.label("start"),
            ended_at.label("end"),
            _PART.notified_at.label("told_at"),
            left_at.label("left_at"),
        )
        .join(events, events.c.event_id == _PART.event_id)
        .where(
            events.c.started_at.is_not(None),
            ~OPTED_OUT_BEFORE,
            _PART.notified_at.is_not(None),
            ended_at > events.c.start_time,
            events.c.start_time < within.end,
            ended_at > within.start,
        )
    )
