"""Objects of OpenADR as they are shown: what a client sent, with the metadata of this server."""

from datetime import datetime
from typing import Any

from sqlalchemy import Row

from schemas.openadr import ObjectType

Object = dict[str, Any]

OF_CLIENTS: tuple[ObjectType, ...] = ("REPORT", "SUBSCRIPTION", "VEN", "RESOURCE")
"""Objects that belong to one client, whose id they show."""


def shown(row: Row[Any], object_type: ObjectType) -> Object:
    """A stored object with the metadata of this server."""
    owner = {"clientID": row.client_id} if object_type in OF_CLIENTS else {}
    return {
        **row.body,
        "id": row.object_id,
        "createdDateTime": _instant(row.created_at),
        "modificationDateTime": _instant(row.modified_at),
        "objectType": object_type,
        **owner,
    }


def _instant(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
