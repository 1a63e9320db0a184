"""Writes what an event delivered as reports of OpenADR, where its object requests that."""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row

from jobs.events.measuring import MeasuredEvent, Rules
from jobs.queries import openadr as queries
from jobs.transforms.settlement_reports import (
    AGGREGATED,
    Figures,
    Method,
    Requested,
    in_blocks,
    report_body,
    report_id,
)

REPORTS_AT_ONCE = 1_000


def write_reports(
    connection: Connection, event: MeasuredEvent, revision: int, now: datetime, rules: Rules
) -> int:
    """Make or replace the reports of a revision by the primary baseline; returns how many.

    A VEN's report belongs to its client, which may read it; all others to that of the event.
    """
    row = connection.execute(queries.object_of_event(event.event_id)).one_or_none()
    requested = None if row is None else Requested.of(row.body)
    if row is None or requested is None:
        return 0
    method = Method(rules.primary, revision, event.window, event.sign, rules.least_coverage_percent)
    reports = [
        {
            "object_id": report_id(row.object_id, subject),
            "client_id": client_id or row.client_id,
            "program_id": row.program_id,
            "event_id": row.object_id,
            "client_name": "gridgate",
            "body": report_body(row.object_id, requested, method, figures),
        }
        for subject, client_id, figures in _figures(connection, event.event_id, revision, rules)
    ]
    for block in in_blocks(reports, REPORTS_AT_ONCE):
        connection.execute(queries.put_reports(block, now))
    return len(reports)


def _figures(
    connection: Connection, event_id: str, revision: int, rules: Rules
) -> Iterator[tuple[str, str | None, Figures]]:
    """Whom a report is about, its client, and what was delivered."""
    of_all = connection.execute(queries.settled_portfolio(event_id, revision, rules.primary)).one()
    yield "", None, _of(of_all, AGGREGATED)
    for row in connection.execute(queries.settled_vens(event_id, revision, rules.primary)):
        yield f"ven/{row.ven_id}", row.client_id, _of(row, row.ven_name or row.ven_id)


def _of(row: Row[Any], name: str) -> Figures:
    return Figures(
        resource_name=name,
        baseline_kw=row.baseline_kw,
        actual_kw=row.actual_kw,
        delivered_kw=row.delivered_kw,
        coverage_percent=row.coverage_percent,
        is_noted=row.note is not None,
    )
