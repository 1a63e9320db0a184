"""Hands reports to ingest, in the transaction that stores them."""

from collections import defaultdict
from datetime import datetime

import msgspec
from sqlalchemy import Connection

from schemas.db.channels import REPORTS, notify
from schemas.openadr import ReportingVen
from serving.openadr import queries
from serving.openadr.queries import OpenAdrReportRow


def put(connection: Connection, report: OpenAdrReportRow, now: datetime) -> None:
    """Put a stored report into the inbox of ingest, with the VENs that it may be about."""
    vens = [msgspec.to_builtins(each) for each in _reporting_vens(connection, report.client_id)]
    values = {"client_id": report.client_id, "vens": vens, "body": report.body, "received_at": now}
    connection.execute(queries.put_report(values))
    connection.execute(notify(REPORTS))


def _reporting_vens(connection: Connection, client_id: str) -> list[ReportingVen]:
    vens = queries.vens_of_client(client_id).all(connection)
    loads: dict[str, dict[str, str]] = defaultdict(dict)
    for resource in queries.loads_of_vens([each.object_id for each in vens]).all(connection):
        loads[resource.ven_object_id][resource.resource_name] = resource.load_id
    return [
        ReportingVen(ven.ven_id, [ven.ven_name, ven.ven_id, ven.object_id], loads[ven.object_id])
        for ven in vens
    ]
