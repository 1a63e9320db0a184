"""What an event asks of the VENs of one client: nothing until the jobs have shared it out. Pure."""

from collections.abc import Sequence
from typing import TypedDict

from msgspec import Struct

from schemas.openadr_objects import Object

RELATIVE, SIMPLE = "DISPATCH_SETPOINT_RELATIVE", "SIMPLE"
HIGHEST_LEVEL = 3
DECIMALS = 3
"""Of a kW in a command, too."""


class PayloadObject(TypedDict):
    """A payload of an interval, in JSON."""

    type: str
    values: list[object]


class IntervalObject(TypedDict):
    """An interval of an event, in JSON; it may have other fields."""

    payloads: list[PayloadObject]


class Share(Struct, frozen=True):
    """What a client's VENs are asked for, of what all are, kW; and what all could shed, for levels."""

    share_kw: float
    of_all_kw: float | None
    """None: not shared out yet."""
    flexibility_kw: float | None


def with_own_share(event: Object, share: Share | None) -> Object:
    """An event as the client of some VENs sees it: with their own kW, which is a part of each interval's.

    Beside a level of `SIMPLE` stands the power that it means for them. Without a share, it is not an event
    that asks for power, or it is over.
    """
    if share is None:
        return event
    part = share.share_kw / share.of_all_kw if share.of_all_kw else 0.0
    flexibility_kw = None if share.of_all_kw is None else share.flexibility_kw
    intervals = [_interval(each, part, flexibility_kw) for each in event.get("intervals", ())]
    return {**event, "intervals": intervals} if intervals else event


def _interval(interval: IntervalObject, part: float, flexibility_kw: float | None) -> IntervalObject:
    payloads = [_payload(each, part) for each in interval["payloads"]]
    types = {each["type"] for each in payloads}
    levels = [each["values"] for each in payloads if each["type"] == SIMPLE]
    level = _only_number(levels[0]) if levels else None
    if RELATIVE not in types and flexibility_kw is not None and level is not None:
        change_kw = -flexibility_kw * level / HIGHEST_LEVEL
        payloads.append({"type": RELATIVE, "values": [_rounded(change_kw * part)]})
    return {**interval, "payloads": payloads}


def _payload(payload: PayloadObject, part: float) -> PayloadObject:
    kw = _only_number(payload["values"]) if payload["type"] == RELATIVE else None
    return payload if kw is None else {**payload, "values": [_rounded(kw * part)]}


def _rounded(kw: float) -> float:
    """Without a sign of zero."""
    return round(kw, DECIMALS) + 0.0


def _only_number(values: Sequence[object]) -> float | None:
    """The only value, if it is a number."""
    value = values[0] if len(values) == 1 else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
