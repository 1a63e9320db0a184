"""VENs and their loads."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from schemas.api.fields import (
    Count,
    Ignored,
    Instant,
    IsoText,
    Name,
    NewId,
    RatedKw,
    ReadOnlyFields,
    Shape,
    Tags,
    Words,
)
from schemas.devices.wire import Priority

IsLocated = Annotated[bool, Meta(description="False: no location is set, and 0.0 is shown.")]
IsReporting = Annotated[bool, Meta(description="False: no power was ever reported, and 0.0 is shown.")]


class Load(Shape, frozen=True):
    """The latest values of one load. Numbers and texts are never null."""

    id: str
    type: Annotated[str, Meta(description="`unknown` without one.")]
    capacity_kw: Annotated[float, Meta(description="As reported, else usage plus shed capability.")]
    shed_capability_kw: Annotated[float, Meta(description="As reported, else what it sheds now, else 0.")]
    current_power_kw: Annotated[float, Meta(description="Negative while it generates.")]
    name: Annotated[str, Meta(description="Its id without one.")]
    enabled: Annotated[bool, Meta(description="Whether it may be controlled.")]
    priority: Annotated[int, Meta(description="0 without one.")]
    is_reporting: IsReporting


class Location(Shape, frozen=True):
    """Degrees; 0.0 where `isLocated` is false."""

    lat: Annotated[float, Meta(ge=-90, le=90)]
    lon: Annotated[float, Meta(ge=-180, le=180)]


class VenMetrics(Shape, frozen=True):
    """Current power and shed capability of a VEN."""

    current_power_kw: float
    shed_availability_kw: float
    active_event_id: str | None
    shed_load_ids: list[str]


SlotMinutes = Literal[5, 15, 30]
SlotSource = Literal["default", "people", "learned"]


class Ven(Shape, frozen=True):
    """One VEN, with the latest values of its loads. Numbers and texts are never null."""

    id: str
    name: Annotated[str, Meta(description="Its id without one.")]
    status: Annotated[str, Meta(examples=["online", "offline", "maintenance", "unknown"])]
    location: Location
    loads: list[Load]
    metrics: VenMetrics
    created_at: Instant
    last_seen: Annotated[Instant | None, Meta(description="When its last telemetry arrived.")]
    registration_id: Annotated[str, Meta(description="Empty without one.")]
    address: Annotated[str, Meta(description="Empty without one.")]
    is_located: IsLocated
    is_reporting: IsReporting
    slot_minutes: Annotated[
        SlotMinutes, Meta(description="Width of its meter's slots: each has one mean power, and its energy.")
    ]
    slot_minutes_since: Annotated[
        Instant | None, Meta(description="Since when it applies; null if nothing was recorded.")
    ]
    slot_minutes_source: Annotated[SlotSource, Meta(description="`learned`: from the times of its reports.")]
    region: Annotated[str, Meta(description="Empty without one.")]
    tags: Annotated[list[str], Meta(description="Free words of people, in order.")]


class VenSummary(Shape, frozen=True):
    """One line of the list of VENs. Powers in kW, the response time in ms."""

    id: str
    name: str
    location: Annotated[str, Meta(description="Empty without one.", examples=["52.5200, 13.4050"])]
    status: Annotated[str, Meta(examples=["online", "offline", "maintenance", "unknown"])]
    controllable_power: float
    current_power: float
    address: Annotated[str, Meta(description="Empty without one.")]
    last_seen: Instant | None
    response_time: Annotated[
        Count, Meta(description="ms from sending a command to its acknowledgement; see `hasAnswered`.")
    ]
    is_located: IsLocated
    is_reporting: IsReporting
    has_answered: Annotated[
        bool, Meta(description="False: it has acknowledged no command; `responseTime` is 0 then.")
    ]


class Place(Shape, frozen=True):
    """Degrees."""

    lat: Annotated[float, Meta(ge=-90, le=90)]
    lon: Annotated[float, Meta(ge=-180, le=180)]


PlaceLabel = Annotated[
    str, Meta(max_length=255, description="As the list of VENs shows it; it cannot be changed by that.")
]


class _ReadOnlyOfVen(ReadOnlyFields, frozen=True, kw_only=True):
    """Fields of a VEN, in the list or by itself, that are read-only."""

    loads: Ignored = UNSET
    last_seen: Ignored = UNSET
    is_located: Ignored = UNSET
    is_reporting: Ignored = UNSET
    slot_minutes_source: Ignored = UNSET
    controllable_power: Ignored = UNSET
    current_power: Ignored = UNSET
    response_time: Ignored = UNSET
    has_answered: Ignored = UNSET


class VenCreate(_ReadOnlyOfVen, frozen=True, kw_only=True):
    """A VEN to register, or a retired one to restore."""

    name: Name
    location: Place
    id: Annotated[NewId | None, Meta(description="Without it, one is made up.")] = None
    status: Name | None = None
    registration_id: Words | None = None
    address: Words | None = None
    region: Words | None = None
    tags: Tags | None = None
    slot_minutes: Annotated[
        SlotMinutes | None, Meta(description="Width of its meter's slots; without it, it is learned.")
    ] = None
    slot_minutes_since: Annotated[
        IsoText | None,
        Meta(description="From when on, not ahead, taken down to a half-hour; without it: always."),
    ] = None


class VenUpdate(_ReadOnlyOfVen, frozen=True, kw_only=True):
    """Changes of a VEN. Missing fields, and those that equal GET's, stay unchanged; null removes a value."""

    id: Ignored = UNSET
    name: Name | UnsetType | None = UNSET
    status: Annotated[
        Name | UnsetType, Meta(description="Counts as if the VEN had reported it now, until its next status.")
    ] = UNSET
    location: Place | PlaceLabel | UnsetType | None = UNSET
    registration_id: Words | UnsetType | None = UNSET
    address: Words | UnsetType | None = UNSET
    region: Words | UnsetType | None = UNSET
    tags: Tags | UnsetType | None = UNSET
    slot_minutes: Annotated[
        SlotMinutes | UnsetType | None,
        Meta(description="Width of its meter's slots; null removes the width set by people: it is learned."),
    ] = UNSET
    slot_minutes_since: Annotated[
        IsoText | UnsetType | None,
        Meta(description="From when on, not ahead, taken down to a half-hour; without it: from now on."),
    ] = UNSET


class LoadUpdate(ReadOnlyFields, frozen=True, kw_only=True):
    """Values of a load that override those of its VEN; null removes the override.

    A value that equals GET's changes nothing.
    """

    id: Ignored = UNSET
    ven_id: Ignored = UNSET
    load_id: Ignored = UNSET
    timestamp: Ignored = UNSET
    is_reporting: Ignored = UNSET
    name: Name | UnsetType | None = UNSET
    type: Name | UnsetType | None = UNSET
    capacity_kw: RatedKw | UnsetType | None = UNSET
    shed_capability_kw: RatedKw | UnsetType | None = UNSET
    enabled: bool | UnsetType | None = UNSET
    priority: Priority | UnsetType | None = UNSET
