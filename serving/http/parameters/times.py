"""Ranges of time."""

import re
from collections.abc import Mapping
from datetime import datetime

from schemas.times.instants import from_microseconds, microseconds, parse_iso
from serving.http.parameters.rules import Parameter, bad_parameter, checked

PLUS_AS_SPACE = re.compile(r"(?<=[\d.,]) (?=\d\d(:?\d\d)?$)")
"""A zone's sign after a time; the space between date and time stays."""
START = Parameter(
    name="start",
    description="First instant, ISO 8601; without a zone UTC. Without it, from the beginning.",
    is_instant=True,
    examples=("2026-01-15T12:00:00Z",),
)
END = Parameter(
    name="end",
    description="Last instant, itself included. Without it, to the end.",
    is_instant=True,
    examples=("2026-01-15T13:00:00Z",),
)
PERIOD = (START, END)


def period(parameters: Mapping[str, str | list[str]]) -> tuple[datetime | None, datetime | None]:
    """Parse `start` and `end`, both inclusive and optional."""
    start, end = (None if us is None else from_microseconds(us) for us in period_us(parameters))
    return start, end


def period_us(parameters: Mapping[str, str | list[str]]) -> tuple[int | None, int | None]:
    start_us, end_us = instant_us(parameters, START), instant_us(parameters, END)
    if start_us is not None and end_us is not None and start_us > end_us:
        raise bad_parameter("start", "must not be after end")
    return start_us, end_us


def instant_us(parameters: Mapping[str, str | list[str]], parameter: Parameter) -> int | None:
    text = checked(parameters, parameter)
    if text is None:
        return None
    try:
        # A `+` of a zone that was not percent-encoded arrives as a space.
        return microseconds(parse_iso(_with_plus(text)))
    except ValueError as error:
        raise bad_parameter(parameter.name, f"is {text[:40]!r}: {error}") from None


def _with_plus(text: str) -> str:
    time = text.find(":") if "t" not in text.lower() else text.lower().index("t")
    return text if time < 0 else text[:time] + PLUS_AS_SPACE.sub("+", text[time:])
