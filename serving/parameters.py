"""Query parameters and path ids, checked; what is wrong becomes a 400 that says what would be right."""

import re
from collections.abc import Mapping
from typing import Literal, cast, overload

import falcon

from schemas.instants import microseconds, parse_iso
from schemas.tables.history import SLOT_S
from serving.windows import Aggregate, Page, Window

GRANULARITY = re.compile(r"([0-9]{1,9})([smh])")
UNIT_S = {"s": 1, "m": 60, "h": 3600}
DEFAULT_GRANULARITY = "5m"
LONGEST_GRANULARITY_S = 10 * 366 * 86_400
MOST_PER_PAGE = 10_000
POSITION = re.compile("[0-9]{1,18}")
NO_POSITION = -1
AGGREGATES = ("sum", "energy", "mean")
PLUS_AS_SPACE = re.compile(r" (?=\d\d:?\d\d$)")


def window(parameters: Mapping[str, str | list[str]]) -> Window:
    """The range, granularity and aggregate of a history request.

    Raises:
        falcon.HTTPBadRequest: one of them is not what the contract says.
    """
    granularity_s = _granularity_s(_single(parameters, "granularity", DEFAULT_GRANULARITY))
    start_us, end_us = _instant_us(parameters, "start"), _instant_us(parameters, "end")
    if start_us is not None and end_us is not None and start_us > end_us:
        raise _bad("start", "must not be after end")
    # Nothing is older than the epoch. `end` is inclusive, a window half-open: it ends a microsecond later.
    return Window(
        None if start_us is None else max(start_us, 0),
        None if end_us is None else max(end_us, 0) + 1,
        granularity_s,
        _aggregate(parameters, granularity_s),
    )


def page(parameters: Mapping[str, str | list[str]]) -> Page:
    """The part of a list that is asked for; all of it without `limit`."""
    limit = _single(parameters, "limit")
    after = _single(parameters, "after")
    if limit is not None and not (re.fullmatch("[0-9]{1,5}", limit) and 1 <= int(limit) <= MOST_PER_PAGE):
        raise _bad("limit", f"must be a whole number from 1 to {MOST_PER_PAGE}")
    return Page(None if limit is None else int(limit), None if after is None else identifier("after", after))


def last_event_id(header: str | None, parameters: Mapping[str, str | list[str]]) -> int | None:
    """Where a live stream is to go on: what the browser sends when it connects again, else the parameter.

    A browser cannot be told that it sends an id which is none of ours, only be sent to the present: that
    becomes an id that nothing has.
    """
    if header is not None:
        return int(header) if POSITION.fullmatch(header) else NO_POSITION
    told = _single(parameters, "lastEventId")
    if told is not None and not POSITION.fullmatch(told):
        raise _bad("lastEventId", "must be the id of an event of this stream, a whole number")
    return None if told is None else int(told)


def identifier(name: str, value: str) -> str:
    """An id that the database can be asked for."""
    if any(character < " " for character in value):
        raise _bad(name, "must not have control characters")
    return value


@overload
def _single(parameters: Mapping[str, str | list[str]], name: str, default: str) -> str: ...
@overload
def _single(parameters: Mapping[str, str | list[str]], name: str) -> str | None: ...
def _single(parameters: Mapping[str, str | list[str]], name: str, default: str | None = None) -> str | None:
    value = parameters.get(name, default)
    if isinstance(value, list):
        raise _bad(name, "must be given once")
    return value


def _granularity_s(text: str) -> int:
    match = GRANULARITY.fullmatch(text)
    seconds = int(match[1]) * UNIT_S[match[2]] if match else 0
    if not 1 <= seconds <= LONGEST_GRANULARITY_S:
        raise _bad("granularity", "must be a positive whole number and s, m or h, such as 30s, 5m or 1h")
    return seconds


def _instant_us(parameters: Mapping[str, str | list[str]], name: str) -> int | None:
    text = _single(parameters, name)
    if text is None:
        return None
    try:
        # A `+` of a zone that was not percent-encoded arrives as a space.
        return microseconds(parse_iso(PLUS_AS_SPACE.sub("+", text)))
    except ValueError as error:
        raise _bad(name, f"is {text[:40]!r}: {error}") from None


def _aggregate(parameters: Mapping[str, str | list[str]], granularity_s: int) -> Aggregate:
    aggregate = _single(parameters, "aggregate", "sum")
    if aggregate not in AGGREGATES:
        raise _bad("aggregate", f"must be one of {', '.join(AGGREGATES)}")
    if aggregate != "sum" and granularity_s % SLOT_S:
        raise _bad(
            "granularity", f"must be a multiple of 5m with aggregate={aggregate}, such as 5m, 15m or 1h"
        )
    return cast(Literal["sum", "energy", "mean"], aggregate)


def _bad(name: str, advice: str) -> falcon.HTTPBadRequest:
    return falcon.HTTPBadRequest(title="Bad request", description=f"{name} {advice}")
