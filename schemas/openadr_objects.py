"""Objects of OpenADR as they are shown: what a client sent, with the metadata of this server."""

from datetime import datetime
from typing import Any, Protocol

from schemas.openadr import ObjectType

Object = dict[str, Any]


class StoredObject(Protocol):
    """What is shown of a row."""

    @property
    def object_id(self) -> str: ...
    @property
    def body(self) -> Object: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def modified_at(self) -> datetime: ...


class ReportObject(StoredObject, Protocol):
    """What is shown of a row of reports."""

    @property
    def client_id(self) -> str: ...


def shown(row: StoredObject, object_type: ObjectType) -> Object:
    """A stored object with the metadata of this server."""
    return {
        **row.body,
        "id": row.object_id,
        "createdDateTime": _instant(row.created_at),
        "modificationDateTime": _instant(row.modified_at),
        "objectType": object_type,
    }


def shown_report(row: ReportObject) -> Object:
    """A stored report, with its client."""
    return {**shown(row, "REPORT"), "clientID": row.client_id}


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
