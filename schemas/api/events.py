"""Demand response events."""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from schemas.api.fields import (
    EVENT_WORDS,
    NO_SEGMENTS,
    Count,
    GroupId,
    Ignored,
    Instant,
    IsoText,
    Name,
    ReadOnlyFields,
    Shape,
    VenId,
    VenIds,
)
from schemas.demand_response.candidates import EventDirection, PassedOverReason
from schemas.devices.identifiers import SEGMENT_PATTERN
from schemas.devices.wire import LARGEST_KW, Priority

EventId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        pattern=SEGMENT_PATTERN,
        extra_json_schema={"not": {"enum": [*EVENT_WORDS, *NO_SEGMENTS]}},
    ),
]
LeadTimeS = Annotated[float, Meta(ge=0, le=86_400)]
EventStatus = Literal["scheduled", "active", "completed", "cancelled"]
ParticipationStatus = Literal["planned", "notified", "acknowledged", "opted_out", "started", "finished"]
CurrentReductionKw = Annotated[
    float,
    Meta(
        description="What it delivers now, or delivered at its end. While it runs the sum of `vens[].shedKw`."
    ),
]
VensResponding = Annotated[Count, Meta(description="VENs that have acknowledged it, and not opted out.")]
VensReporting = Annotated[
    Count, Meta(description="VENs that count in the current reduction: heard within their presence time.")
]
AvgResponseMs = Annotated[
    Count, Meta(description="From a command to its acknowledgement; 0 while `vensResponding` is 0.")
]
ActualReductionKw = Annotated[
    float,
    Meta(
        description="What it delivers on average: 0 before it starts, provisional until `isSettled`. "
        "0 also where it cannot be known (`isMeasured` is false)."
    ),
]


class EventTargets(Shape, frozen=True, kw_only=True):
    """The targets of an event: VENs by id and members of groups; without either all VENs. With load types,
    only VENs that have such a load, and only those loads.
    """

    groups: Annotated[list[str], Meta(description="Ids of groups.")]
    load_types: list[str]
    ven_ids: Annotated[list[str], Meta(description="The same as `venIds` beside it.")]


class TargetsGiven(Shape, frozen=True, kw_only=True):
    """The targets of an event. Missing fields stay unchanged; null removes a target."""

    groups: Annotated[list[GroupId], Meta(max_length=100)] | UnsetType | None = UNSET
    load_types: Annotated[list[Name], Meta(max_length=100)] | UnsetType | None = UNSET
    ven_ids: Annotated[
        Annotated[list[VenId], Meta(max_length=100_000)] | UnsetType | None,
        Meta(description="The same as `venIds` beside it."),
    ] = UNSET


TARGETS = "Groups, types of load, VENs; without it, or null, all VENs."


class _ReadOnlyOfEvent(ReadOnlyFields, frozen=True, kw_only=True):
    """Fields of an event that are read-only."""

    status: Ignored = UNSET
    planned_end_time: Ignored = UNSET
    actual_reduction_kw: Ignored = UNSET
    is_settled: Ignored = UNSET
    is_measured: Ignored = UNSET
    notes: Ignored = UNSET
    current_reduction_kw: Ignored = UNSET
    vens_responding: Ignored = UNSET
    vens_reporting: Ignored = UNSET
    avg_response_ms: Ignored = UNSET
    vens: Ignored = UNSET


Direction = Annotated[
    EventDirection,
    Meta(
        description="`reduce`: VENs are to use less. `increase`: more; then all kW of reduction are of more."
    ),
]
TargetKw = Annotated[float, Meta(ge=0, le=LARGEST_KW, description="Of all VENs together.")]
SpreadS = Annotated[float, Meta(ge=0, le=3_600)]
LimitKw = Annotated[float, Meta(ge=0, le=LARGEST_KW)]
RANDOM_START = "Longest random delay of a VEN's start, constant for an event and a VEN."
STAGGERED_RETURN = "Longest random delay of a VEN's return after the end, constant for an event and a VEN."
IMPORT_LIMIT = "Limit of each VEN's import at its panel. Sent to VENs that support it."
EXPORT_LIMIT = "Limit of each VEN's export at its panel. Sent to VENs that support it."


class EventInterval(Shape, frozen=True):
    """A part of an event with its own requested kW. Each begins where the previous one ends."""

    duration_s: Annotated[float, Meta(gt=0, le=86_400)]
    target_kw: TargetKw
    offset_s: Annotated[
        float | UnsetType,
        Meta(description="From `startTime` to its start: the sum of the durations before it."),
    ] = UNSET


Intervals = Annotated[
    list[EventInterval],
    Meta(
        max_length=1_440,
        description="kW by time from the start; the rest requests `requestedReductionKw`.",
    ),
]


class EventCreate(_ReadOnlyOfEvent, frozen=True, kw_only=True):
    """A new event. Times are ISO 8601; without `venIds` and `targets` it targets all VENs."""

    start_time: Annotated[
        IsoText,
        Meta(description="One that has just passed means at once.", examples=["2026-01-15T17:00:00Z"]),
    ]
    end_time: Annotated[
        IsoText, Meta(description="After the start, and still ahead.", examples=["2026-01-15T18:30:00Z"])
    ]
    requested_reduction_kw: Annotated[float, Meta(gt=0, le=LARGEST_KW, description="Of all VENs together.")]
    id: Annotated[EventId | None, Meta(description="Without it, the event is given one.")] = None
    ven_ids: Annotated[
        VenIds | None, Meta(description="VENs that it targets; without it, and without `targets`, all VENs.")
    ] = None
    targets: Annotated[TargetsGiven | None, Meta(description=TARGETS)] = None
    priority: Annotated[
        Priority, Meta(description="Of two events that claim a VEN at the same time, the higher one gets it.")
    ] = 0
    lead_time_s: Annotated[
        LeadTimeS | None, Meta(description="How long before the start VENs are notified.")
    ] = None
    direction: Direction = "reduce"
    intervals: Intervals | None = None
    randomize_start_s: Annotated[SpreadS, Meta(description=RANDOM_START)] = 0
    stagger_return_s: Annotated[SpreadS, Meta(description=STAGGERED_RETURN)] = 0
    import_limit_kw: Annotated[LimitKw | None, Meta(description=IMPORT_LIMIT)] = None
    export_limit_kw: Annotated[LimitKw | None, Meta(description=EXPORT_LIMIT)] = None


class PassedOver(Shape, frozen=True):
    """The number of VENs that an event passes over, by reason."""

    reason: PassedOverReason
    vens: Annotated[int, Meta(ge=1)]


class AskedVen(Shape, frozen=True):
    """A VEN that an event would select, and its share."""

    ven_id: str
    available_kw: Annotated[float, Meta(description="What it could shed now.")]
    requested_reduction_kw: float


class PassedOverVen(Shape, frozen=True):
    """A VEN that an event would pass over."""

    ven_id: str
    reason: PassedOverReason


class SimilarEvent(Shape, frozen=True):
    """The settled delivery of an event at a similar time of day, and of similar length."""

    event_id: str
    start_time: Instant
    end_time: Instant
    vens: Annotated[Count, Meta(description="Number of participants.")]
    requested_kw: float
    delivered_kw: Annotated[float | None, Meta(description="Null where it could not be measured.")]
    performance_percent: float | None


class EventPreview(Shape, frozen=True, kw_only=True):
    """The effect of an event if it were allocated now. Nothing is stored."""

    start_time: Instant
    end_time: Instant
    requested_reduction_kw: float
    available_kw: Annotated[float, Meta(description="The available power of all selected VENs.")]
    shared_reduction_kw: Annotated[float, Meta(description="The sum of their shares.")]
    targets: EventTargets
    vens: Annotated[list[AskedVen], Meta(description="The VENs that it would select, by id.")]
    passed_over: Annotated[list[PassedOverVen], Meta(description="The VENs that it would pass over, by id.")]
    notes: Annotated[list[PassedOver], Meta(description="The numbers of these, by reason.")]
    similar_events: Annotated[list[SimilarEvent], Meta(description="The newest ten, newest first.")]
    similar_performance_percent: Annotated[
        float | None, Meta(description="Delivered of requested energy of all of them; null without any.")
    ]


class EventUpdate(_ReadOnlyOfEvent, frozen=True, kw_only=True):
    """Changes of an event; once VENs have been notified, its start, direction, lead time and random delay
    cannot change.

    Missing fields, and those that equal GET's, stay unchanged.
    """

    id: Ignored = UNSET
    start_time: IsoText | UnsetType = UNSET
    end_time: IsoText | UnsetType = UNSET
    requested_reduction_kw: Annotated[float, Meta(gt=0, le=LARGEST_KW)] | UnsetType = UNSET
    ven_ids: Annotated[
        Annotated[list[VenId], Meta(max_length=100_000)] | UnsetType | None,
        Meta(description="Null: no VEN by id."),
    ] = UNSET
    targets: Annotated[TargetsGiven | UnsetType | None, Meta(description=TARGETS)] = UNSET
    priority: Priority | UnsetType = UNSET
    lead_time_s: LeadTimeS | UnsetType | None = UNSET
    direction: Direction | UnsetType = UNSET
    intervals: Annotated[
        Intervals | UnsetType | None,
        Meta(description="Null, or none, requests `requestedReductionKw` alone."),
    ] = UNSET
    randomize_start_s: SpreadS | UnsetType = UNSET
    stagger_return_s: SpreadS | UnsetType = UNSET
    import_limit_kw: LimitKw | UnsetType | None = UNSET
    export_limit_kw: LimitKw | UnsetType | None = UNSET


class Event(Shape, frozen=True, kw_only=True):
    """A demand response event. Numbers and texts are never null."""

    id: str
    status: EventStatus
    start_time: Instant
    end_time: Annotated[Instant, Meta(description="When it ended, once it has.")]
    planned_end_time: Instant
    requested_reduction_kw: float
    actual_reduction_kw: ActualReductionKw
    is_settled: bool
    is_measured: Annotated[bool, Meta(description="Whether `actualReductionKw` comes from measurements.")]
    ven_ids: Annotated[list[str], Meta(description="VENs that it names; see `targets`.")]
    targets: EventTargets
    priority: int
    lead_time_s: Annotated[float, Meta(description="How long before the start VENs are notified.")]
    notes: Annotated[
        list[PassedOver],
        Meta(description="How many VENs are passed over, by reason; as it was last while it ran."),
    ]
    direction: Direction
    intervals: Annotated[list[EventInterval], Meta(description="kW by time; empty: one power throughout.")]
    randomize_start_s: Annotated[float, Meta(description=RANDOM_START)]
    stagger_return_s: Annotated[float, Meta(description=STAGGERED_RETURN)]
    import_limit_kw: Annotated[float | UnsetType, Meta(description=IMPORT_LIMIT)] = UNSET
    export_limit_kw: Annotated[float | UnsetType, Meta(description=EXPORT_LIMIT)] = UNSET


class EventMetrics(Shape, frozen=True, kw_only=True):
    """The progress or result of an event."""

    current_reduction_kw: CurrentReductionKw
    vens_responding: VensResponding
    avg_response_ms: AvgResponseMs
    actual_reduction_kw: ActualReductionKw
    vens_reporting: VensReporting


class EventWithMetrics(Event, frozen=True, kw_only=True):
    """An event with its progress."""

    current_reduction_kw: CurrentReductionKw
    vens_responding: VensResponding
    avg_response_ms: AvgResponseMs
    vens_reporting: VensReporting


class EventVen(Shape, frozen=True):
    """The participation of one VEN in an event."""

    ven_id: str
    ven_name: str
    shed_kw: Annotated[float, Meta(description="Its delivery, now or at the end; once settled, the mean.")]
    status: ParticipationStatus
    requested_reduction_kw: Annotated[float, Meta(description="Its share of the request: now, or its last.")]
    acknowledged_at: Annotated[
        Instant | None, Meta(description="When it accepted; null if it has not, or opted out.")
    ]
    reason: Annotated[
        str, Meta(description="Why it does not take part, from the VEN or the outbox; empty without one.")
    ]


class EventDetail(EventWithMetrics, frozen=True, kw_only=True):
    """An event with its progress and participants."""

    vens: list[EventVen]
