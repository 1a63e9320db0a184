"""Commands of events with intervals, a direction, limits, or spread starts and returns."""

from collections.abc import Sequence
from datetime import datetime

import polars as pl
from sqlalchemy import Connection

from jobs.queries.events import event_terms as term_queries
from jobs.queries.events.event_terms import TermsRow
from jobs.transforms.events.event_terms import CommandTerms, Flexibility, is_announced, with_terms
from schemas.demand_response.commands import NewCommand
from schemas.devices.abilities import abilities


def completed(connection: Connection, asked: Sequence[NewCommand]) -> list[NewCommand]:
    """Commands with the terms of their events beyond start, end and kW, for VENs that understand them.

    Args:
        connection: within the transaction that has written who takes part.
        asked: rows of the outbox, whose data is not encoded yet.
    """
    event_ids = sorted({command["event_id"] for command in asked if command["event_id"]})
    rows = term_queries.with_optional_terms(event_ids).all(connection) if event_ids else []
    if not rows:
        return list(asked)
    terms = {row.event_id: _terms(connection, row) for row in rows}
    flexible = {
        event_id: _flexibilities(connection, event_id) for event_id, each in terms.items() if each.steps
    }
    concerned = [command["ven_id"] for command in asked if command["event_id"] in terms]
    understood = {ven_id: frozenset(words) for ven_id, words in connection.execute(abilities(concerned))}
    return [
        with_terms(
            command,
            terms[event_id],
            understood.get(command["ven_id"], frozenset()),
            flexible.get(event_id, {}).get(command["ven_id"]),
        )
        if (event_id := command["event_id"]) in terms
        else command
        for command in asked
    ]


def _terms(connection: Connection, row: TermsRow) -> CommandTerms:
    steps = connection.execute(term_queries.requests(row.event_id)).all() if row.has_intervals else ()
    return CommandTerms(
        event_id=row.event_id,
        status=row.status,
        start_time=row.start_time,
        end_time=row.end_time,
        direction=row.direction,
        steps=tuple((at, kw) for at, kw in steps),
        randomize_start_s=row.randomize_start_s,
        stagger_return_s=row.stagger_return_s,
        import_limit_kw=row.import_limit_kw,
        export_limit_kw=row.export_limit_kw,
    )


def _flexibilities(connection: Connection, event_id: str) -> dict[str, Flexibility]:
    available_kw = dict(connection.execute(term_queries.available(event_id)).all())
    of_all_kw = sum(available_kw.values())
    return {ven_id: Flexibility(kw, of_all_kw) for ven_id, kw in available_kw.items()}


def vens_with_announced_share(
    connection: Connection, event_id: str, shares: pl.DataFrame, now: datetime
) -> list[str]:
    """Those of some VENs whose last command has announced their present share.

    Args:
        connection: within the step's transaction.
        event_id: of an event with intervals.
        shares: `ven_id`, `requested_reduction_kw`.
        now: the time.
    """
    share_kw = dict(shares.select("ven_id", "requested_reduction_kw").iter_rows())
    rows = term_queries.announced_intervals(event_id).all(connection)
    return [
        row.ven_id
        for row in rows
        if row.ven_id in share_kw and is_announced(row.intervals, share_kw[row.ven_id], now)
    ]
