"""Answers as bytes: small ones whole, with an ETag; long ones streamed, so that memory does not grow."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import falcon
import msgspec

from serving.blocks import AT_FIRST, Blocks, growing
from serving.histories import History
from serving.whole import Whole

AT_ONCE = 1_000
"""Entries of a list that are encoded together, at most."""

_encoder = msgspec.json.Encoder()


encode = _encoder.encode


def answer_whole(response: falcon.Response, whole: Whole) -> None:
    """What is ready: its tag and its compressed bytes with it."""
    response.data = whole.plain
    response.context.whole = whole


def answer(response: falcon.Response, value: Any) -> None:  # noqa: ANN401 - any of schemas.http
    """A value of `schemas.http`, or a list of them."""
    response.data = _encoder.encode(value)


def answer_list(response: falcon.Response, entries: Iterable[Any], at_first: int = AT_FIRST) -> None:
    """An array, streamed if it is long."""
    _send(response, entries, b"[", lambda: b"]", at_first)


def answer_points(response: falcon.Response, points: History) -> None:
    """A history: `{"points": [...]}`, streamed if it is long; with a `warning` if it is not all exact."""
    _send(response, points, b'{"points":[', lambda: _end_of(points))


def _end_of(points: History) -> bytes:
    warning = b"" if points.warning is None else b',"warning":' + _encoder.encode(points.warning)
    return b"]" + warning + b"}"


def _send(
    response: falcon.Response,
    entries: Iterable[Any],
    opening: bytes,
    close: Callable[[], bytes],
    at_first: int = AT_FIRST,
) -> None:
    remaining = iter(entries)
    # The first block is read before the status line is sent: what fails, fails as an error.
    first = list(islice(remaining, at_first))
    closing = close()
    if len(first) < at_first:
        response.data = opening + _block(first) + closing
    else:
        response.stream = Blocks(_blocks(first, remaining, opening, closing), remaining)


def _blocks(first: list[Any], remaining: Iterator[Any], opening: bytes, closing: bytes) -> Iterator[bytes]:
    yield opening + _block(first)
    for block in growing(remaining, 2 * len(first), AT_ONCE):
        yield b"," + _block(block)
    yield closing


def _block(entries: list[Any]) -> bytes:
    return _encoder.encode(entries)[1:-1]
