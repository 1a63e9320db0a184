"""Field types that several routes share: instants, ids, names; and the encoding of structs as JSON."""

from datetime import datetime
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct

from schemas.devices.identifiers import SEGMENT_PATTERN, TOPIC_LEVEL_PATTERN
from schemas.devices.wire import LARGEST_KW

Instant = Annotated[datetime, Meta(tz=True)]
ISO_INSTANT = {
    "anyOf": [{"format": "date-time"}, {"format": "date"}],
    "pattern": "^([0-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])-",
}
"""ISO 8601 as JSON Schema's formats define it, without the last year of calendars; UTC without a zone."""

IsoText = Annotated[str, Meta(extra_json_schema=ISO_INSTANT)]
Count = Annotated[int, Meta(ge=0)]


class Shape(Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """The base of JSON types: camelCase keys, unknown keys forbidden."""


Ignored = Annotated[
    Any,
    Meta(
        description="Ignored, as it is read-only. Clients may send back what they got.",
        extra_json_schema={"readOnly": True},
    ),
]
"""The type of a read-only field in a body, which is accepted and ignored; its default is UNSET."""


class ReadOnlyFields(Shape, frozen=True, kw_only=True):
    """The base of read-only fields of VENs, loads and events."""

    created_at: Ignored = UNSET
    current_power_kw: Ignored = UNSET
    metrics: Ignored = UNSET


PLAIN = r"^[^\x00-\x1f\x7f]+(?!\n)$"
PLAIN_OR_EMPTY = r"^(?:[^\x00-\x1f\x7f]+(?!\n))?$"
PRINTED = r"^[^\x00-\x1f]+(?!\n)$"
IDENTIFIER_WORDS = (
    "a text without control characters, non-characters, line separators and bidirectional controls,"
    " without white space at its ends"
)
PATTERNS = {
    PLAIN: "a text without control characters",
    PLAIN_OR_EMPTY: "a text without control characters",
    TOPIC_LEVEL_PATTERN: f"{IDENTIFIER_WORDS}, and without `/`, `+` and `#`",
    SEGMENT_PATTERN: f"{IDENTIFIER_WORDS}, and without `/`",
    PRINTED: "a text without control characters",
}
"""The patterns of texts in words, for error messages."""

NO_SEGMENTS = (".", "..")
"""Ids that clients resolve in a path before the request: the resource would be unreachable."""

VEN_WORDS = ("export", "history", "import", "summary")
EVENT_WORDS = ("current", "history")
"""Words of routes in the place of an id in a path."""

Name = Annotated[str, Meta(min_length=1, max_length=255, pattern=PLAIN)]
NewId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        pattern=TOPIC_LEVEL_PATTERN,
        description="One level of a topic: without `/`, `+` and `#`.",
        examples=["ven-0001"],
        extra_json_schema={"not": {"enum": [*VEN_WORDS, *NO_SEGMENTS]}},
    ),
]
PositiveKw = Annotated[float, Meta(gt=0, le=LARGEST_KW)]
RatedKw = Annotated[float, Meta(ge=0, le=LARGEST_KW)]


Words = Annotated[str, Meta(max_length=255, pattern=PLAIN_OR_EMPTY)]
Tags = Annotated[
    list[Name], Meta(max_length=100, description="Free words; order and repetition are irrelevant.")
]


VenId = Annotated[str, Meta(min_length=1, max_length=255, pattern=PRINTED)]
VenIds = Annotated[list[VenId], Meta(min_length=1, max_length=100_000)]
GroupId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        pattern=SEGMENT_PATTERN,
        examples=["north"],
        extra_json_schema={"not": {"enum": list(NO_SEGMENTS)}},
    ),
]
Attributes = Annotated[list[Name], Meta(max_length=100)]
