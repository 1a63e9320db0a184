"""Checks of arguments of the analysts' API: an error names the argument, and lists valid values. Pure."""

import difflib
import re
from collections.abc import Collection, Iterable, Mapping
from typing import get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from analysis.ranges import Aggregate
from schemas.demand_response.baselines import BASELINES, BaselineName

AGGREGATES: tuple[Aggregate, ...] = get_args(Aggregate)
OF = ("ven_id", "load_id")
BY = ("type", "total")
_PASSWORD_PARAMETER = re.compile(r"([?&](?:ssl)?password=)[^&]*", re.IGNORECASE)
FEW = 12
"""Up to so many valid values are all listed in an error; of more, the nearest."""


def choice(argument: str, value: object, choices: Collection[str]) -> str:
    """Check that a value is one of some names, and return it.

    Raises:
        ValueError: it is not; the message lists the names, or the nearest of many.
    """
    if isinstance(value, str) and value in choices:
        return value
    raise ValueError(f"{argument} is {value!r}: {expected(value, choices)}")


def expected(value: object, choices: Iterable[str]) -> str:
    """The end of an error message: all names if they are few, else the nearest."""
    names = sorted(choices)
    nearest = _nearest(str(value), names)
    if len(names) <= FEW:
        hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
        return f"expected one of {', '.join(names)}{hint}" if names else "there is none"
    shown = nearest or names[:3]
    return f"expected one of {len(names)} names, such as {', '.join(shown)}"


def _nearest(value: str, names: Collection[str]) -> list[str]:
    """The most similar, also by a part of a name: `Berlin` is near `Europe/Berlin`."""
    whole = difflib.get_close_matches(value, names, n=3, cutoff=0.6)
    parts = [name for name in names if value and value.lower() in name.lower()]
    return list(dict.fromkeys([*whole, *parts]))[:5]


def checked_aggregate(value: str) -> Aggregate:
    choice("aggregate", value, AGGREGATES)
    return next(each for each in AGGREGATES if each == value)


def checked_zone(name: str) -> ZoneInfo:
    return ZoneInfo(choice("zone", name, available_timezones()))


def checked_baseline(value: str | None) -> BaselineName | None:
    if value is None:
        return None
    choice("baseline", value, BASELINES)
    return next(each for each in BASELINES if each == value)


def checked_type(value: str | None) -> str | None:
    if value is not None and (not isinstance(value, str) or not value):
        raise ValueError(f"load_type is {value!r}: expected a type of load, such as 'ev'")
    return value


def checked_by(value: str, load_type: str | None) -> str:
    choice("by", value, BY)
    if value == "total" and load_type is not None:
        raise ValueError("by='total' is of all loads: leave out load_type")
    return value


def checked_revision(value: int | None) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise ValueError(f"revision is {value!r}: expected a whole number from 1 on")
    return value


def checked_of(of: Mapping[str, object]) -> dict[str, str]:
    """Check the VEN or load of a history, and return its ids.

    Raises:
        ValueError: an argument is unknown, no text, or a load comes without its VEN.
    """
    for name, value in of.items():
        choice("argument", name, OF)
        if not isinstance(value, str) or not value:
            raise ValueError(f"{name} is {value!r}: expected an id, such as 'ven-0001'")
    if of.keys() == {"load_id"}:
        raise ValueError("load_id is unique only within its VEN: a history is of a ven_id, or of both")
    return {name: str(value) for name, value in of.items()}


def checked_service(url: str) -> str:
    """Check the URL of a service, and return it without a slash at its end.

    Raises:
        ValueError: it is no URL of HTTP, or the URL of a route.
    """
    try:
        parts = urlsplit(url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:  # of the port
        raise ValueError(f"{without_password(url)!r} is no URL: expected http://host:8000") from None
    if parts.scheme not in {"http", "https"} or not has_host:
        raise ValueError(f"{without_password(url)!r} is no http:// or https:// URL of a service")
    if parts.query or parts.fragment or parts.path.rstrip("/").endswith("/api"):
        raise ValueError(
            f"{without_password(url)!r}: expected the address of the service alone, such as http://host:8000"
        )
    return url.rstrip("/")


def without_password(url: str) -> str:
    """A URL for messages, without its password."""
    scheme, separator, rest = url.partition("://")
    user, at, host = rest.rpartition("@")
    shown = f"{scheme}{separator}{user.partition(':')[0]}{at}{host}" if separator else url
    return _PASSWORD_PARAMETER.sub(r"\1...", shown)
