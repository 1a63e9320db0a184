"""What a client has it is not sent again, and what it is sent it may have compressed."""

from typing import Any

import falcon
from falcon import Request, Response

from serving.compression import AS_THEY_ARE, compressed, preferred
from serving.hot import Hot
from serving.whole import Whole

REVALIDATE = "no-cache"
"""Keep it, but ask before each use: with an ETag that costs a 304."""

HARMLESS = frozenset({"HEAD", "OPTIONS"})


class Representations:
    """Falcon middleware: tags every whole answer to a GET by its bytes, and compresses what it may.

    After anything but a GET, what is ready is forgotten: who has changed something must see it.
    """

    def __init__(self, hot: Hot) -> None:
        self._hot = hot

    def process_response(
        self,
        request: Request,
        response: Response,
        _resource: object,
        succeeded: bool,  # noqa: FBT001 - Falcon's
    ) -> None:
        if request.method != "GET":
            if request.method not in HARMLESS:
                self._hot.forget()
            return
        if response.get_header("Cache-Control") is None:
            response.set_header("Cache-Control", REVALIDATE)
        if succeeded:
            _represent(request, response)


def _represent(request: Request, response: Response) -> None:
    accepted = request.get_header("Accept-Encoding")
    encoding = None
    if response.content_type not in AS_THEY_ARE:
        response.append_header("Vary", "Accept-Encoding")
        encoding = None if accepted is None else preferred(accepted)
    if response.data is not None:
        whole = getattr(response.context, "whole", None) or Whole(response.data)
        _send_unless_known(request, response, whole, encoding)
    elif encoding is not None and response.stream is not None:
        stream: Any = response.stream
        response.stream = compressed(encoding, stream)
        response.set_header("Content-Encoding", encoding)


def _send_unless_known(request: Request, response: Response, whole: Whole, encoding: str | None) -> None:
    etag = whole.tag_in(encoding)
    response.set_header("ETag", f'"{etag}"')
    if request.get_header("If-None-Match") and any(
        known in {"*", etag} for known in request.if_none_match or []
    ):
        response.status = falcon.HTTP_304
        response.data = None
        response.delete_header("Content-Type")
    elif encoding is not None and whole.plain:
        response.data = whole.packed(encoding)
        response.set_header("Content-Encoding", encoding)
