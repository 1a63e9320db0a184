"""Reads the performance of events, as settled by the jobs."""

from collections.abc import Sequence

from msgspec.structs import asdict, astuple
from sqlalchemy import Connection, Engine

from schemas.api.performance import BaselineChosen, Delivery, EventPerformance, Revision, VenDelivery
from schemas.demand_response.baselines import BASELINES, BaselineName
from schemas.tables.events import INTERVAL_PERCENT
from schemas.times.rounding import rounded
from serving.db.reading import snapshot
from serving.errors import ConflictError, NotFoundError
from serving.events.deliveries import queries
from serving.events.deliveries.queries import PortfolioDeliveryRow, ProgressRow, RevisionRow, VenDeliveryRow
from serving.events.queries import event as event_by_id
from serving.events.rows import EventRow


class PerformanceReader:
    """Reads settlements; for an event without one, its progress."""

    def __init__(self, engine: Engine, primary: BaselineName) -> None:
        self._engine = engine
        self._primary = primary

    def performance(
        self, event_id: str, baseline: BaselineName | None, revision: int | None
    ) -> EventPerformance:
        """Return the performance by a baseline (default: the primary one) in a revision (default: the
        newest).

        Raises:
            NotFoundError: there is no such event, or it has no such revision.
            ConflictError: nothing is measured yet; or it is not settled, and the baseline is not the primary.
        """
        with snapshot(self._engine) as connection:
            event = event_by_id(event_id).first(connection)
            if event is None:
                raise NotFoundError(f"There is no event {event_id!r}.")
            revisions = queries.revisions(event_id).all(connection)
            if not revisions and revision is None:
                return self._provisional(connection, event, baseline)
            chosen = _chosen(event_id, revisions, revision)
            return _settled(connection, event_id, revisions, chosen, baseline or self._primary)

    def _provisional(
        self, connection: Connection, event: EventRow, baseline: BaselineName | None
    ) -> EventPerformance:
        row = queries.progress_of(event.event_id).first(connection)
        if row is None:
            raise ConflictError(
                f"Event {event.event_id!r} is {event.status}, and nothing of it is measured yet."
            )
        if baseline not in {None, self._primary}:
            raise ConflictError(
                f"Event {event.event_id!r} is not settled yet: there is only {self._primary}."
            )
        return EventPerformance(
            event_id=event.event_id,
            provisional=True,
            baseline=_named(self._primary),
            revision=None,
            settled_at=None,
            revisions=[],
            baselines=[self._primary],
            interval_percent=INTERVAL_PERCENT,
            portfolio=_provisional_delivery(row),
            vens=[],
        )


def deliveries(performance: EventPerformance) -> list[VenDelivery]:
    """Return the rows of a settlement's table: the portfolio, with an empty `venId`, and each VEN."""
    portfolio = VenDelivery(**asdict(performance.portfolio), ven_id="")
    return [portfolio, *performance.vens]


def _chosen(event_id: str, revisions: Sequence[RevisionRow], revision: int | None) -> RevisionRow:
    chosen = [row for row in revisions if revision in {None, row.revision}]
    if chosen:
        return chosen[-1]
    has = f"it has 1 to {revisions[-1].revision}" if revisions else "it is not settled yet"
    raise NotFoundError(f"Event {event_id!r} has no revision {revision}: {has}.")


def _settled(
    connection: Connection,
    event_id: str,
    revisions: Sequence[RevisionRow],
    chosen: RevisionRow,
    baseline: BaselineName,
) -> EventPerformance:
    portfolio = queries.portfolio(event_id, chosen.revision, baseline).first(connection)
    settled_by = connection.execute(queries.settled_by(event_id, chosen.revision)).scalars().all()
    if portfolio is None:
        raise NotFoundError(
            f"Revision {chosen.revision} of event {event_id!r} was not measured by {baseline}, but by"
            f" {', '.join(settled_by)}. EVENT_BASELINES names those of new settlements."
        )
    vens = queries.deliveries(event_id, chosen.revision, baseline).all(connection)
    return EventPerformance(
        event_id=event_id,
        provisional=False,
        baseline=_named(baseline),
        revision=chosen.revision,
        settled_at=chosen.settled_at,
        revisions=[Revision(row.revision, row.settled_at) for row in revisions],
        baselines=[name for name in BASELINES if name in settled_by],
        interval_percent=INTERVAL_PERCENT,
        portfolio=_delivery(portfolio),
        vens=[_ven_delivery(row) for row in vens],
    )


def _named(baseline: BaselineName) -> BaselineChosen:
    return BaselineChosen(baseline, BASELINES[baseline])


def _ven_delivery(row: VenDeliveryRow) -> VenDelivery:
    return VenDelivery(*astuple(_delivery(row)), ven_id=row.ven_id)


def _delivery(row: PortfolioDeliveryRow | VenDeliveryRow) -> Delivery:
    return Delivery(
        requested_kw=rounded(row.requested_kw),
        requested_kwh=rounded(row.requested_kwh),
        baseline_kw=rounded(row.baseline_kw),
        actual_kw=rounded(row.actual_kw),
        delivered_kw=rounded(row.delivered_kw),
        delivered_kwh=rounded(row.delivered_kwh),
        delivered_low_kw=rounded(row.delivered_low_kw),
        delivered_high_kw=rounded(row.delivered_high_kw),
        performance_percent=rounded(row.performance_percent),
        coverage_percent=rounded(row.coverage_percent),
        rrmse_percent=rounded(row.rrmse_percent),
        days_used=row.days_used,
        adjustment=row.adjustment,
        adjustment_kw=rounded(row.adjustment_kw),
        adjustment_reason=row.adjustment_reason,
        note=row.note,
    )


def _percent(kw: float | None, requested_kw: float) -> float | None:
    return None if kw is None or not requested_kw else rounded(100 * kw / requested_kw)


def _provisional_delivery(row: ProgressRow) -> Delivery:
    """Return the delivery of an event that is not settled: its energy and mean power so far."""
    kw = row.delivered_kwh / float(row.hours) if row.delivered_kwh is not None and row.hours > 0 else None
    return Delivery(
        requested_kw=rounded(row.requested_reduction_kw),
        requested_kwh=rounded(row.requested_reduction_kw * float(row.hours)),
        baseline_kw=None,
        actual_kw=None,
        delivered_kw=rounded(kw),
        delivered_kwh=rounded(row.delivered_kwh),
        delivered_low_kw=None,
        delivered_high_kw=None,
        performance_percent=_percent(kw, row.requested_reduction_kw),
        coverage_percent=None,
        rrmse_percent=None,
        days_used=0,
        adjustment=None,
        adjustment_kw=None,
        adjustment_reason=None,
        note="so far; it is not settled yet",
    )
