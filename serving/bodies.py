"""Bodies of requests: JSON of one of the shapes in `schemas.http`; what is wrong with it is named."""

from typing import TypeVar

import falcon
import msgspec

Shape = TypeVar("Shape")


def body(request: falcon.Request, shape: type[Shape]) -> Shape:
    """The request's body.

    Raises:
        falcon.HTTPUnsupportedMediaType: it says that it is not JSON.
        falcon.HTTPBadRequest: it is not what the contract says.
    """
    if request.content_type and "json" not in request.content_type.lower():
        raise falcon.HTTPUnsupportedMediaType(
            title="Unsupported media type", description="The body must be application/json."
        )
    try:
        return msgspec.json.decode(request.bounded_stream.read(), type=shape)
    except msgspec.ValidationError as error:
        raise _bad(str(error)) from None
    except msgspec.DecodeError as error:
        raise _bad(f"cannot be read as JSON: {error}") from None


def _bad(advice: str) -> falcon.HTTPBadRequest:
    return falcon.HTTPBadRequest(title="Bad request", description=f"The body: {advice}")
