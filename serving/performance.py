"""What events delivered, as the jobs have settled it. Knows nothing of HTTP."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Row

from schemas.baselines import BASELINES, BaselineName
from schemas.http import BaselineChosen, EventPerformance, Revision
from serving import shapes
from serving.event_rules import Conflict
from serving.queries import events
from serving.unknown import Unknown


class PerformanceReader:
    """Reads settlements; of an event that has none yet, how it goes."""

    def __init__(self, engine: Engine, primary: BaselineName) -> None:
        self._engine = engine
        self._primary = primary

    def performance(
        self, event_id: str, baseline: BaselineName | None, revision: int | None
    ) -> EventPerformance:
        """By the baseline that is asked for, else the first one, in the revision, else the newest.

        Raises:
            Unknown: there is no such event, or it has no such revision.
            Conflict: nothing is measured yet; or it is not settled, and the baseline is not the first one.
        """
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            found = connection.execute(events.event(event_id)).one_or_none()
            if found is None:
                raise Unknown(f"There is no event {event_id!r}.")
            made = connection.execute(events.revisions(event_id)).all()
            if not made and revision is None:
                return self._provisional(connection, found, baseline)
            chosen = _chosen(event_id, made, revision)
            return _settled(connection, event_id, made, chosen, baseline or self._primary)

    def _provisional(
        self, connection: Connection, found: Row[Any], baseline: BaselineName | None
    ) -> EventPerformance:
        row = connection.execute(events.progress_of(found.event_id)).one_or_none()
        if row is None:
            raise Conflict(f"Event {found.event_id!r} is {found.status}, and nothing of it is measured yet.")
        if baseline not in {None, self._primary}:
            raise Conflict(f"Event {found.event_id!r} is not settled yet: there is only {self._primary}.")
        return EventPerformance(
            event_id=found.event_id,
            provisional=True,
            baseline=_named(self._primary),
            revision=None,
            settled_at=None,
            revisions=[],
            baselines=[self._primary],
            portfolio=shapes.provisional_delivery(row),
            vens=[],
        )


def _chosen(event_id: str, made: Sequence[Row[Any]], revision: int | None) -> Row[Any]:
    wanted = [row for row in made if revision in {None, row.revision}]
    if wanted:
        return wanted[-1]
    has = f"it has 1 to {made[-1].revision}" if made else "it is not settled yet"
    raise Unknown(f"Event {event_id!r} has no revision {revision}: {has}.")


def _settled(
    connection: Connection,
    event_id: str,
    made: Sequence[Row[Any]],
    chosen: Row[Any],
    baseline: BaselineName,
) -> EventPerformance:
    portfolio = connection.execute(events.portfolio(event_id, chosen.revision, baseline)).one()
    vens = connection.execute(events.deliveries(event_id, chosen.revision, baseline)).all()
    return EventPerformance(
        event_id=event_id,
        provisional=False,
        baseline=_named(baseline),
        revision=chosen.revision,
        settled_at=chosen.settled_at,
        revisions=[Revision(row.revision, row.settled_at) for row in made],
        baselines=list(BASELINES),
        portfolio=shapes.delivery(portfolio),
        vens=[shapes.ven_delivery(row) for row in vens],
    )


def _named(baseline: BaselineName) -> BaselineChosen:
    return BaselineChosen(baseline, BASELINES[baseline])
