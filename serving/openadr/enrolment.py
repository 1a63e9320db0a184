"""A VEN of OpenADR is a VEN of this service, and its resources are that VEN's loads."""

import re
from datetime import datetime

from sqlalchemy import Connection

from schemas.api.fields import NO_SEGMENTS, VEN_WORDS
from schemas.devices.identifiers import SEGMENT_PATTERN, TOPIC_LEVEL_PATTERN
from schemas.devices.load_values import remove_load
from schemas.openadr import ResourceRequest, VenRequest
from serving.errors import ConflictError, InvalidRequestError
from serving.openadr import queries
from serving.openadr.attributes import load_settings, place
from serving.openadr.auth.access import Client
from serving.openadr.queries import OpenAdrVenRow
from serving.registry import credential_queries as credentials
from serving.registry import queries as registry
from serving.registry.writer import RETIREMENT

VEN_ID = re.compile(TOPIC_LEVEL_PATTERN)
LOAD_ID = re.compile(SEGMENT_PATTERN)
BY_OPENADR = "openadr:"
"""Begins the `registration_id` of a VEN that an enrolment registered; the id of its client follows."""


def register_ven(connection: Connection, request: VenRequest, owner: Client, now: datetime) -> bool:
    """Make sure that a VEN is registered under the name of an enrolment; whether it had to be registered.

    Business logic may enrol a VEN that is registered. A VEN may not, lest it take the place of another; but
    it may come back.

    Raises:
        InvalidRequestError: the name cannot be the id of a VEN.
        ConflictError: it is that of another VEN.
    """
    ven_id = request.ven_name
    if not VEN_ID.search(ven_id) or ven_id in (*VEN_WORDS, *NO_SEGMENTS):
        raise InvalidRequestError(
            "venName becomes the id of the VEN here, so it must have no / + # and no control characters, and"
            f" must not begin or end with white space, nor be one of {', '.join((*VEN_WORDS, *NO_SEGMENTS))}"
        )
    known = queries.registered(ven_id).first(connection)
    mark = f"{BY_OPENADR}{request.client_id or owner.client_id}"
    is_own = known is None or (known.retired_at is not None and known.registration_id == mark)
    if not (is_own or owner.is_business_logic):
        raise ConflictError(f"venName {ven_id!r} is the id of another VEN: choose another name.")
    if known is not None and known.retired_at is None:
        return False
    values = {"ven_id": ven_id, "name": ven_id, "registration_id": mark, "created_at": now}
    connection.execute(registry.add_ven({**values, **place(request.attributes)}))
    connection.execute(registry.NOTIFY_TOTALS)
    return True


def rename_ven(connection: Connection, ven_id: str, request: VenRequest) -> None:
    """Update the VEN by its enrolment; its id stays."""
    connection.execute(registry.change_ven(ven_id, {"name": request.ven_name, **place(request.attributes)}))
    connection.execute(registry.NOTIFY_TOTALS)


def retire_ven(connection: Connection, row: OpenAdrVenRow, now: datetime) -> None:
    """Retire the VEN of an enrolment that registered it; one that was there before stays."""
    if not row.is_registered_here:
        return
    if connection.execute(registry.retire_ven(row.ven_id, now)).first() is not None:
        connection.execute(registry.withdraw_commands(row.ven_id, "the VEN was retired"))
        connection.execute(credentials.revoke(row.ven_id, RETIREMENT, now))
        connection.execute(credentials.NOTIFY_CREDENTIALS)
        connection.execute(registry.NOTIFY_TOTALS)
        connection.execute(registry.NOTIFY_COMMANDS)


def set_load(
    connection: Connection, ven_id: str, load_id: str, request: ResourceRequest, now: datetime
) -> None:
    """Update a load by its resource.

    Raises:
        InvalidRequestError: its name cannot be the id of a load.
    """
    if not LOAD_ID.search(load_id) or load_id in NO_SEGMENTS:
        raise InvalidRequestError(
            "resourceName becomes the id of a load here, so it must have no / and no control characters, and"
            " must not begin or end with white space"
        )
    connection.execute(registry.set_load(ven_id, load_id, load_settings(request.attributes), now))
    connection.execute(registry.NOTIFY_TOTALS)


def forget_load(connection: Connection, ven_id: str, load_id: str, now: datetime) -> None:
    """Take a load out of latest values and totals, until the VEN reports it again."""
    newest = connection.execute(queries.newest_ts(ven_id)).scalar_one_or_none()
    connection.execute(remove_load(ven_id, load_id, newest or now, now))
    connection.execute(registry.NOTIFY_TOTALS)
