"""Sends `schemas.api` types in the media type that the client prefers; long responses are streamed.

A short response is sent complete, with an ETag. A long one is streamed, so that memory stays bounded.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import chain, islice
from typing import Protocol, Self, TypeVar

import falcon
import msgspec
from falcon import Request, Response
from falcon.uri import encode_value
from falcon.util import mediatypes
from msgspec import Struct

from serving.http.formats import ROWS_AT_ONCE, columnar_body
from serving.http.parameters.media import FORMAT, JSON, MEDIA_TYPES
from serving.http.parameters.rules import checked
from serving.http.representation import CachedResponse
from serving.page import Page

AT_FIRST = 1_001
"""Entries of a list or history that are read before the status line is sent, so that a failure until then
becomes an error response. A response with fewer entries is sent complete.
"""

AT_ONCE = 1_000
"""Most entries that are encoded together."""

WARNING_HEADER = "History-Warning"
CARRIED_TO_NEXT_PAGE = ("group", "format", "state", "status", "kind", "acknowledged", "start", "end")
"""Parameters of a list that select its entries, or their form."""

_encoder = msgspec.json.Encoder()
encode = _encoder.encode


class Entry(Protocol):
    """An entry of a paged list."""

    @property
    def id(self) -> str: ...


class Points(Protocol):
    """A history: points of one shape, and, once the first is read, a warning if they are not exact."""

    @property
    def shape(self) -> type[Struct]: ...
    @property
    def warning(self) -> str | None: ...
    def __iter__(self) -> Iterator[object]: ...


Listed = TypeVar("Listed", bound=Entry)
Block = TypeVar("Block")


def negotiate(request: Request, response: Response) -> str:
    """Return the media type that the client prefers, of those offered for lists and histories.

    Raises:
        falcon.HTTPNotAcceptable: it accepts none of them.
    """
    response.append_header("Vary", "Accept")
    if name := checked(request.params, FORMAT):
        return MEDIA_TYPES[name]
    preferred = _preferred(request.accept)
    if preferred is None:
        raise falcon.HTTPNotAcceptable(description=f"This comes as {', '.join(MEDIA_TYPES.values())}.")
    return preferred


@lru_cache(maxsize=256)
def _preferred(accept: str) -> str | None:
    """Parse `Accept`; media types are case-insensitive, invalid members are ignored."""
    members = ",".join(filter(_is_media_range, accept.lower().split(",")))
    return mediatypes.best_match(MEDIA_TYPES.values(), members) or None if members else None


def _is_media_range(member: str) -> bool:
    try:
        mediatypes.quality(JSON, member)
    except ValueError:
        return False
    return True


def answer_cached(response: Response, cached: CachedResponse) -> None:
    """The body is added where the client does not have it: a 304 costs none."""
    response.data = b""
    response.context.cached = cached


def answer(response: Response, value: object) -> None:
    """Respond with a value of `schemas.api`, or a list of them, as JSON."""
    response.data = _encoder.encode(value)


def answer_secret(response: Response, value: object) -> None:
    """Like `answer`, for values that no cache and no browser may store."""
    response.set_header("Cache-Control", "no-store")
    answer(response, value)


def answer_list(response: Response, entries: Iterable[object], at_first: int = AT_FIRST) -> None:
    """Respond with a list as JSON."""
    _answer_json(response, entries, b"[", lambda: b"]", at_first)


def answer_entries(
    response: Response,
    media_type: str,
    shape: type[Struct],
    entries: Iterable[object],
    at_first: int = AT_FIRST,
) -> None:
    """Respond with a list in a media type."""
    if media_type == JSON:
        answer_list(response, entries, at_first)
    else:
        _answer_columns(response, media_type, shape, iter(entries), at_first)


def answer_history(response: Response, media_type: str, points: Points) -> None:
    """Respond with a history in a media type; columnar types have its warning in a header."""
    if media_type == JSON:
        _answer_json(response, points, b'{"points":[', lambda: _end_of_history(points))
    else:
        _answer_columns(response, media_type, points.shape, iter(points), warning=lambda: points.warning)


def answer_text(response: Response, media_type: str, parts: Iterator[str], broken: bytes) -> None:
    """Respond with a long text in parts, such as lines; `broken` is sent last if one fails."""
    with _closed_on_error(parts):
        first = list(islice(parts, AT_FIRST))
        response.content_type = media_type
        if len(first) < AT_FIRST:
            response.data = "".join(first).encode()
            return
        blocks = chain([first], growing_blocks(parts, AT_ONCE, AT_ONCE))
        response.stream = StreamedBody(("".join(block).encode() for block in blocks), parts, broken)


def link_next_page(
    request: Request, response: Response, page: Page, entries: Iterator[Listed]
) -> list[Listed] | Iterator[Listed]:
    """Return the entries of a page; if it is full, add a `Link` header to the next one."""
    if page.limit is None:
        return entries
    listed = list(entries)
    if len(listed) == page.limit:
        path = "/".join(map(encode_value, request.path.split("/")))
        following = f"{path}?limit={page.limit}&after={encode_value(listed[-1].id)}"
        for name in CARRIED_TO_NEXT_PAGE:
            if name in request.params:
                following += f"&{name}={encode_value(str(request.params[name]))}"
        response.append_header("Link", f'<{following}>; rel="next"')
    return listed


class StreamedBody:
    """A streamed body; closing it closes the source of its blocks, such as a database cursor.

    A generator that has not started does not close its source, and one in a reference cycle is closed
    only by the cyclic garbage collector.

    If a block fails after the first was sent, the status line is already out: `broken` is sent as the last
    block, which is not a valid end of the media type.
    """

    def __init__(self, blocks: Iterator[bytes], source: object, broken: bytes = b"") -> None:
        self._blocks = blocks
        self._source = source
        self._broken = broken
        self._failure: Exception | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        try:
            return next(self._blocks)
        except StopIteration:
            raise
        except Exception as failure:
            if not self._broken:
                raise
            self._failure = failure
            return self._broken

    def close(self) -> None:
        for each in (self._blocks, self._source):
            _close(each)


def growing_blocks(entries: Iterator[Block], first: int, most: int) -> Iterator[list[Block]]:
    """Yield entries in lists, each twice as long as the previous one, up to `most`."""
    size = min(first, most)
    while block := list(islice(entries, size)):
        yield block
        size = min(2 * size, most)


def _end_of_history(points: Points) -> bytes:
    warning = b"" if points.warning is None else b',"warning":' + _encoder.encode(points.warning)
    return b"]" + warning + b"}"


def _answer_json(
    response: Response,
    entries: Iterable[object],
    opening: bytes,
    close: Callable[[], bytes],
    at_first: int = AT_FIRST,
) -> None:
    remaining = iter(entries)
    with _closed_on_error(remaining):
        first = list(islice(remaining, at_first))
        closing = close()
        if len(first) < at_first:
            response.data = opening + _json_items(first) + closing
        else:
            response.stream = StreamedBody(_json_blocks(first, remaining, opening, closing), remaining)


def _json_blocks(
    first: list[object], remaining: Iterator[object], opening: bytes, closing: bytes
) -> Iterator[bytes]:
    yield opening + _json_items(first)
    for block in growing_blocks(remaining, 2 * len(first), AT_ONCE):
        yield b"," + _json_items(block)
    yield closing


def _json_items(entries: list[object]) -> bytes:
    """Return the JSON of entries, without the enclosing brackets."""
    return _encoder.encode(entries)[1:-1]


def _answer_columns(
    response: Response,
    media_type: str,
    shape: type[Struct],
    entries: Iterator[object],
    at_first: int = AT_FIRST,
    warning: Callable[[], str | None] = lambda: None,
) -> None:
    with _closed_on_error(entries):
        first = list(islice(entries, at_first))
        message = warning()
        if message:
            response.set_header(WARNING_HEADER, message)
        rest = growing_blocks(entries, 2 * len(first), ROWS_AT_ONCE)
        body = columnar_body(media_type, shape, chain([first] if first else [], rest), message)
        response.content_type = media_type
        if len(first) < at_first:
            response.data = b"".join(body.blocks)
        else:
            response.stream = StreamedBody(body.blocks, entries, body.broken)


@contextmanager
def _closed_on_error(source: object) -> Iterator[None]:
    """Close a source on failure: the error would keep a reference to it, and so its connection open."""
    try:
        yield
    except BaseException:
        _close(source)
        raise


def _close(source: object) -> None:
    if close := getattr(source, "close", None):
        close()
