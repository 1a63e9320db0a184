"""Who owns a VEN or a resource, and which targets it is granted. Pure."""

from collections.abc import Sequence

from schemas.openadr import ResourceRequest, VenRequest, plain
from schemas.openadr_objects import Object
from serving.errors import ForbiddenError, InvalidRequestError
from serving.openadr.auth.access import Client
from serving.openadr.queries import OpenAdrResourceRow, OpenAdrVenRow

BY_BUSINESS_LOGIC = ("BL_VEN_REQUEST", "BL_RESOURCE_REQUEST")
ACCESS = ("objectType", "clientID", "targets")
"""Fields of requests that are stored beside the body."""


def owner_and_targets(
    client: Client, request: VenRequest | ResourceRequest, before: OpenAdrVenRow | OpenAdrResourceRow | None
) -> tuple[str, Sequence[str]]:
    """Set by business logic; a VEN owns what it makes, and cannot grant itself targets.

    Raises:
        ForbiddenError: a VEN speaks as business logic.
        InvalidRequestError: business logic names no client, or speaks as a VEN.
    """
    is_by_business_logic = request.object_type in BY_BUSINESS_LOGIC
    if is_by_business_logic and not client.is_business_logic:
        raise ForbiddenError(
            f"objectType {request.object_type} grants targets, which only business logic may do:"
            f" send {request.object_type.replace('BL', 'VEN', 1)}."
        )
    if is_by_business_logic:
        if request.client_id is None:
            raise InvalidRequestError("clientID is missing: it says whose object this is")
        return request.client_id, request.targets or ()
    if client.is_business_logic:
        raise InvalidRequestError(
            f"objectType must be {request.object_type.replace('VEN', 'BL', 1)}, with the clientID of a VEN"
        )
    return client.client_id, () if before is None else before.targets


def without_access(request: VenRequest | ResourceRequest) -> Object:
    """What is stored as the body: without what its owner and targets are stored for."""
    return {name: value for name, value in plain(request).items() if name not in ACCESS}
