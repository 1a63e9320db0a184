"""What the API takes and answers. Powers are kW, energies kWh, times UTC.

What is told here of a field is told in OpenAPI too; what each number means stands in `docs/backend-api.md`.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from schemas.alarms import AlarmKind, AlarmSeverity
from schemas.demand_response.baselines import BaselineName, DayChoice
from schemas.demand_response.candidates import EventDirection, PassedOverReason
from schemas.devices.identifiers import SEGMENT_PATTERN, TOPIC_LEVEL_PATTERN
from schemas.devices.wire import LARGEST_KW, Priority
from schemas.webhooks import DeliveryStatus, WebhookKind

Instant = Annotated[datetime, Meta(tz=True)]
ISO_INSTANT = {
    "anyOf": [{"format": "date-time"}, {"format": "date"}],
    "pattern": "^([0-8][0-9]{3}|9[0-8][0-9]{2}|99[0-8][0-9]|999[0-8])-",
}
"""Of ISO 8601 what formats know; and no year that calendars cannot step past. Without a zone it is UTC."""

IsoText = Annotated[str, Meta(extra_json_schema=ISO_INSTANT)]
Count = Annotated[int, Meta(ge=0)]


class Shape(Struct, rename="camel", frozen=True, forbid_unknown_fields=True):
    """What travels as JSON: with camelCase keys, and no other keys."""


Ignored = Annotated[
    Any,
    Meta(
        description="Ignored: it cannot be written. Clients may send back what they got.",
        extra_json_schema={"readOnly": True},
    ),
]
"""The type of a field of a body that is accepted and ignored; its default is UNSET."""


class _ReadOnly(Shape, frozen=True, kw_only=True):
    """What answers show of a VEN, a load or an event and no body can change."""

    created_at: Ignored = UNSET
    current_power_kw: Ignored = UNSET
    metrics: Ignored = UNSET


class NetworkStats(Shape, frozen=True):
    """The network now. A number that cannot be known is null."""

    ven_count: Annotated[Count, Meta(description="Registered VENs.")]
    controllable_power_kw: Annotated[float, Meta(description="What could be shed now.")]
    potential_load_reduction_kw: Annotated[
        float, Meta(description="What could be shed, were all online and enabled.")
    ]
    household_usage_kw: Annotated[
        float, Meta(description="The latest usage of all VENs; exports count negative.")
    ]
    online_vens: Annotated[Count, Meta(description="VENs whose latest status is `online`.")]
    current_load_reduction_kw: Annotated[float, Meta(description="What all VENs shed now.")]
    average_house_power: Annotated[float | None, Meta(description="kW, over the VENs that have reported.")]
    total_house_power_today: Annotated[
        float | None, Meta(description="kWh since midnight at the site, `TIME_ZONE`.")
    ]
    network_efficiency: Annotated[
        float | None, Meta(description="Percent of the requested reduction that is delivered.")
    ]


class LoadTypeStats(Shape, frozen=True):
    """Totals over the latest values of all loads of a type."""

    type: Annotated[str, Meta(description="`unknown` for loads that have none.", examples=["hvac"])]
    total_capacity_kw: float
    total_shed_capability_kw: float
    current_usage_kw: Annotated[float, Meta(ge=0, description="What loads draw; generation adds nothing.")]


BucketStart = Annotated[
    Instant,
    Meta(
        description="Start of the bucket: a multiple of the granularity since the Unix epoch.",
        examples=["2026-01-15T12:00:00Z"],
    ),
]
HistoryWarning = Annotated[
    str,
    Meta(description="Present where retention has left nothing fine enough; says since when all is exact."),
]


class PowerPoint(Shape, frozen=True, gc=False):
    """One bucket of history: sums of samples, or their mean power."""

    timestamp: BucketStart
    used_power_kw: float
    shed_power_kw: float


class PowerHistory(Shape, frozen=True):
    """A history with `aggregate=sum` or `mean`, oldest first."""

    points: list[PowerPoint]
    warning: HistoryWarning | UnsetType = UNSET


class EnergyPoint(Shape, frozen=True, gc=False):
    """One bucket of history as energy."""

    timestamp: BucketStart
    used_energy_kwh: float
    shed_energy_kwh: float


class EnergyHistory(Shape, frozen=True):
    """A history with `aggregate=energy`, oldest first."""

    points: list[EnergyPoint]
    warning: HistoryWarning | UnsetType = UNSET


PointEvent = Annotated[str, Meta(description="Present where the VEN took part in an event: the first in it.")]
PointRequest = Annotated[float, Meta(description="What that event asked of the VEN.")]


class VenPowerPoint(PowerPoint, frozen=True, gc=False):
    """One bucket of a VEN's history, and the event that it lies in."""

    event_id: PointEvent | UnsetType = UNSET
    requested_reduction_kw: PointRequest | UnsetType = UNSET


class VenPowerHistory(Shape, frozen=True):
    """A VEN's history with `aggregate=sum` or `mean`, oldest first."""

    points: list[VenPowerPoint]
    warning: HistoryWarning | UnsetType = UNSET


class VenEnergyPoint(EnergyPoint, frozen=True, gc=False):
    """One bucket of a VEN's history as energy, and the event that it lies in."""

    event_id: PointEvent | UnsetType = UNSET
    requested_reduction_kw: PointRequest | UnsetType = UNSET


class VenEnergyHistory(Shape, frozen=True):
    """A VEN's history with `aggregate=energy`, oldest first."""

    points: list[VenEnergyPoint]
    warning: HistoryWarning | UnsetType = UNSET


VenIdOfPoint = Annotated[str, Meta(description="The VEN.", examples=["ven-0001"])]
GroupIdOfPoint = Annotated[str, Meta(description="The group.", examples=["north"])]
TypeOfPoint = Annotated[
    str,
    Meta(description="The type of load, as it is now; `unknown` for loads without one.", examples=["hvac"]),
]


class VenPowerRow(Shape, frozen=True, gc=False):
    """One bucket of a VEN: sums of samples, or their mean power."""

    ven_id: VenIdOfPoint
    timestamp: BucketStart
    used_power_kw: float
    shed_power_kw: float
    event_id: PointEvent | UnsetType = UNSET
    requested_reduction_kw: PointRequest | UnsetType = UNSET


class VenPowerRows(Shape, frozen=True):
    """Histories of VENs with `aggregate=sum` or `mean`, one after the other, each oldest first."""

    points: list[VenPowerRow]
    warning: HistoryWarning | UnsetType = UNSET


class VenEnergyRow(Shape, frozen=True, gc=False):
    """One bucket of a VEN: energy."""

    ven_id: VenIdOfPoint
    timestamp: BucketStart
    used_energy_kwh: float
    shed_energy_kwh: float
    event_id: PointEvent | UnsetType = UNSET
    requested_reduction_kw: PointRequest | UnsetType = UNSET


class VenEnergyRows(Shape, frozen=True):
    """Histories of VENs with `aggregate=energy`, one after the other, each oldest first."""

    points: list[VenEnergyRow]
    warning: HistoryWarning | UnsetType = UNSET


class GroupPowerRow(Shape, frozen=True, gc=False):
    """One bucket of a group: sums of samples, or their mean power."""

    group_id: GroupIdOfPoint
    timestamp: BucketStart
    used_power_kw: float
    shed_power_kw: float


class GroupPowerRows(Shape, frozen=True):
    """Histories of groups with `aggregate=sum` or `mean`, one after the other, each oldest first."""

    points: list[GroupPowerRow]
    warning: HistoryWarning | UnsetType = UNSET


class GroupEnergyRow(Shape, frozen=True, gc=False):
    """One bucket of a group: energy."""

    group_id: GroupIdOfPoint
    timestamp: BucketStart
    used_energy_kwh: float
    shed_energy_kwh: float


class GroupEnergyRows(Shape, frozen=True):
    """Histories of groups with `aggregate=energy`, one after the other, each oldest first."""

    points: list[GroupEnergyRow]
    warning: HistoryWarning | UnsetType = UNSET


class LoadPowerRow(Shape, frozen=True, gc=False):
    """One bucket of a load: sums of samples, or their mean power."""

    ven_id: VenIdOfPoint
    load_id: str
    type: TypeOfPoint
    timestamp: BucketStart
    used_power_kw: float
    shed_power_kw: float


class LoadPowerRows(Shape, frozen=True):
    """Histories of loads with `aggregate=sum` or `mean`, one after the other, each oldest first."""

    points: list[LoadPowerRow]
    warning: HistoryWarning | UnsetType = UNSET


class LoadEnergyRow(Shape, frozen=True, gc=False):
    """One bucket of a load: energy."""

    ven_id: VenIdOfPoint
    load_id: str
    type: TypeOfPoint
    timestamp: BucketStart
    used_energy_kwh: float
    shed_energy_kwh: float


class LoadEnergyRows(Shape, frozen=True):
    """Histories of loads with `aggregate=energy`, one after the other, each oldest first."""

    points: list[LoadEnergyRow]
    warning: HistoryWarning | UnsetType = UNSET


class LoadTypePowerRow(Shape, frozen=True, gc=False):
    """One bucket of all loads of a type: sums of samples, or their mean power."""

    type: TypeOfPoint
    timestamp: BucketStart
    used_power_kw: float
    shed_power_kw: float


class LoadTypePowerRows(Shape, frozen=True):
    """Histories of types of load with `aggregate=sum` or `mean`, one after the other, each oldest first."""

    points: list[LoadTypePowerRow]
    warning: HistoryWarning | UnsetType = UNSET


class LoadTypeEnergyRow(Shape, frozen=True, gc=False):
    """One bucket of all loads of a type: energy."""

    type: TypeOfPoint
    timestamp: BucketStart
    used_energy_kwh: float
    shed_energy_kwh: float


class LoadTypeEnergyRows(Shape, frozen=True):
    """Histories of types of load with `aggregate=energy`, one after the other, each oldest first."""

    points: list[LoadTypeEnergyRow]
    warning: HistoryWarning | UnsetType = UNSET


IsLocated = Annotated[bool, Meta(description="False: nobody has set a location; 0.0 stands in for it.")]
IsReporting = Annotated[
    bool, Meta(description="False: no power has ever been reported; 0.0 stands in for it.")
]


class Load(Shape, frozen=True):
    """The latest of one load. No number and no word is null."""

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
    """What a VEN does, and could do, now."""

    current_power_kw: float
    shed_availability_kw: float
    active_event_id: str | None
    shed_load_ids: list[str]


SlotMinutes = Literal[5, 15, 30]
SlotSource = Literal["default", "people", "learned"]


class Ven(Shape, frozen=True):
    """One VEN, with the latest of its loads. No number and no word is null."""

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
        Instant | None, Meta(description="From when on; null where nothing was recorded.")
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
"""What texts must be, in words for people."""

NO_SEGMENTS = (".", "..")
"""Clients resolve these in a path before the request: the resource could not be reached."""

VEN_WORDS = ("export", "history", "import", "summary")
EVENT_WORDS = ("current", "history")
"""Routes that stand where an id could stand in a path."""

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


class Place(Shape, frozen=True):
    """Degrees."""

    lat: Annotated[float, Meta(ge=-90, le=90)]
    lon: Annotated[float, Meta(ge=-180, le=180)]


Words = Annotated[str, Meta(max_length=255, pattern=PLAIN_OR_EMPTY)]
Tags = Annotated[
    list[Name], Meta(max_length=100, description="Free words; order and repetition mean nothing.")
]


PlaceLabel = Annotated[
    str, Meta(max_length=255, description="As the list of VENs shows it; it cannot be changed by that.")
]


class _ReadOnlyOfVen(_ReadOnly, frozen=True, kw_only=True):
    """What GET shows of a VEN, by itself and in the list, and no body can change."""

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
    """A VEN to register; or one that was retired, to bring back."""

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
    """What is to change of a VEN. What is not mentioned, or equals what GET shows, stays; null forgets."""

    id: Ignored = UNSET
    name: Name | UnsetType | None = UNSET
    status: Annotated[
        Name | UnsetType, Meta(description="Counts as if the VEN had said it now; its next word counts then.")
    ] = UNSET
    location: Place | PlaceLabel | UnsetType | None = UNSET
    registration_id: Words | UnsetType | None = UNSET
    address: Words | UnsetType | None = UNSET
    region: Words | UnsetType | None = UNSET
    tags: Tags | UnsetType | None = UNSET
    slot_minutes: Annotated[
        SlotMinutes | UnsetType | None,
        Meta(description="Width of its meter's slots; null forgets what people have set: it is learned."),
    ] = UNSET
    slot_minutes_since: Annotated[
        IsoText | UnsetType | None,
        Meta(description="From when on, not ahead, taken down to a half-hour; without it: from now on."),
    ] = UNSET


class ImportProblem(Shape, frozen=True):
    """What is wrong with a line of a file."""

    line: Annotated[int, Meta(ge=1, description="The first line, with the names of the columns, is 1.")]
    field: Annotated[str, Meta(description="The column; empty where it is the whole line.")]
    detail: Annotated[str, Meta(description="What would be right.")]


class VenImport(Shape, frozen=True, kw_only=True):
    """What an import has done to the registry, or with `dryRun` what it would do."""

    dry_run: bool
    rows: Annotated[Count, Meta(description="VENs in the file whose lines are right.")]
    created: Annotated[Count, Meta(description="VENs that were not registered.")]
    restored: Annotated[Count, Meta(description="VENs that were retired, and are back.")]
    changed: Count
    unchanged: Annotated[Count, Meta(description="VENs that were as the file says.")]
    problem_count: Count
    problems: Annotated[list[ImportProblem], Meta(description="The first 1,000, by line.")]


CredentialStatus = Literal["pending", "active", "revoking", "revoked"]


class VenCredential(Shape, frozen=True, kw_only=True):
    """How a VEN logs in to the broker: its user name is its id."""

    id: Annotated[str, Meta(description="The VEN's.")]
    status: Annotated[
        CredentialStatus,
        Meta(description="`pending`, `revoking`: the broker has not confirmed the last change yet."),
    ]
    created_at: Instant
    changed_at: Annotated[Instant, Meta(description="Made, rotated or revoked.")]
    changed_by: str
    applied_at: Annotated[Instant | None, Meta(description="When the broker last confirmed a change.")]
    attempts: Annotated[Count, Meta(description="Attempts that failed since the last change.")]
    error: Annotated[str | None, Meta(description="Why the broker does not have the last change yet.")]


class MadeCredential(Shape, frozen=True):
    """A credential and its password."""

    credential: VenCredential
    username: str
    password: Annotated[str, Meta(description="Shown this once; it works when `status` is `active`.")]


class LoadUpdate(_ReadOnly, frozen=True, kw_only=True):
    """Values of a load that override those of its VEN; null gives the field back to the VEN.

    A value that equals what GET shows changes nothing.
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


class OptOutCreate(Shape, frozen=True, kw_only=True):
    """When a VEN shall not be asked to take part in events: from `from` until before `to`."""

    start: Annotated[IsoText, Meta(examples=["2026-01-15T17:00:00Z"])] = field(name="from")
    end: Annotated[
        IsoText, Meta(description="After `from`, and still ahead.", examples=["2026-01-16T08:00:00Z"])
    ] = field(name="to")
    reason: Annotated[
        str, Meta(max_length=255, pattern=PLAIN_OR_EMPTY, description="For people.", examples=["guests"])
    ] = ""


class OptOut(Shape, frozen=True):
    """A time, half-open, in which a VEN is not asked to take part in events."""

    id: str
    ven_id: str
    start: Instant = field(name="from")
    end: Instant = field(name="to")
    reason: Annotated[str, Meta(description="Empty without one.")]
    created_at: Instant


class ShedRequest(Shape, frozen=True):
    """What a load is to shed, and for how long."""

    amount_kw: PositiveKw
    duration_s: Annotated[float, Meta(gt=0, le=86_400, description="How long.")] = 900


class ShedAccepted(Shape, frozen=True):
    """A command is stored, and will be sent; `/api/commands/{commandId}` tells what becomes of it."""

    ven_id: str
    load_id: str
    amount_kw: float
    command_id: str
    status: Literal["accepted"] = "accepted"


CommandStatus = Literal["pending", "sent", "acknowledged", "rejected", "expired", "failed"]


class Command(Shape, frozen=True):
    """A command to a VEN. `acknowledgedAt` is the VEN's word, `executedAt` what its telemetry shows."""

    id: Annotated[str, Meta(description="The correlation id.")]
    ven_id: str
    op: Annotated[str, Meta(examples=["setLoad", "shedLoad", "event", "restore"])]
    load_id: str | None
    event_id: str | None
    data: Annotated[Any, Meta(description="An object, as the contract of the VENs has it for this `op`.")]
    status: CommandStatus
    attempts: Count
    created_at: Instant
    sent_at: Annotated[Instant | None, Meta(description="When the broker first took it.")]
    acknowledged_at: Annotated[Instant | None, Meta(description="When the VEN's answer arrived.")]
    executed_at: Annotated[Instant | None, Meta(description="Since when telemetry shows that it is obeyed.")]
    expires_at: Annotated[Instant, Meta(description="Until when it is worth sending.")]
    acknowledgement: Annotated[Any, Meta(description="The VEN's answer as it came; null without one.")]
    error: Annotated[str | None, Meta(description="Why it came to nothing.")]


class Alarm(Shape, frozen=True):
    """A condition that people on duty must know of."""

    id: str
    kind: AlarmKind
    severity: AlarmSeverity
    subject: Annotated[
        str,
        Meta(description="What it is about: an event's id, a directory. Empty: the fleet, or the service."),
    ]
    detail: Annotated[str, Meta(examples=["120 of 500 VENs went offline within 10 minutes."])]
    value: Annotated[float, Meta(description="As last measured while the alarm was open.")]
    worst_value: Annotated[float, Meta(description="The highest, which is the worst, since it was raised.")]
    threshold: Annotated[float, Meta(description="The value from which on it was raised.")]
    unit: Annotated[str, Meta(examples=["%", "s"])]
    raised_at: Instant
    cleared_at: Annotated[Instant | None, Meta(description="Null while it is open.")]
    acknowledged_at: Instant | None
    acknowledged_by: Annotated[
        str | None, Meta(description="The name of the key; `anonymous` where no keys are asked for.")
    ]


class AlarmCondition(Shape, frozen=True):
    """A kind of alarm, its threshold, and what was last measured."""

    kind: AlarmKind
    severity: AlarmSeverity
    meaning: str
    unit: Annotated[str, Meta(examples=["%", "s"])]
    threshold: Annotated[float, Meta(description="Alarms are raised from this value on.")]
    clears_below: Annotated[
        float, Meta(description="An alarm clears when its value has been below this for a while.")
    ]
    value: Annotated[float | None, Meta(description="The worst of all subjects; null if there are none.")]
    open_alarms: Count
    evaluated_at: Annotated[
        Instant | None, Meta(description="If this is long ago, what is said of alarms is old; null: never.")
    ]
    error: Annotated[str | None, Meta(description="Why the last evaluation failed; null if it did not.")]


WebhookKinds = Annotated[
    list[WebhookKind],
    Meta(
        min_length=1, max_length=20, description="The changes that are sent.", examples=[["events", "alarms"]]
    ),
]
WebhookUrl = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2_048,
        pattern=PRINTED,
        description="`https`, or `http` to networks of `WEBHOOK_NETWORKS`; no user, password or fragment.",
        examples=["https://example.com/hooks/gridgate"],
    ),
]


class WebhookCreate(Shape, frozen=True, kw_only=True):
    """Have changes sent to a URL."""

    url: WebhookUrl
    kinds: WebhookKinds
    enabled: bool | UnsetType = UNSET


class WebhookUpdate(Shape, frozen=True, kw_only=True):
    """What to change of a webhook."""

    url: WebhookUrl | UnsetType = UNSET
    kinds: WebhookKinds | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET
    id: Ignored = UNSET
    created_at: Ignored = UNSET
    pending_deliveries: Ignored = UNSET
    succeeded_at: Ignored = UNSET
    failing_since: Ignored = UNSET
    retry_at: Ignored = UNSET
    disabled_at: Ignored = UNSET
    error: Ignored = UNSET


class Webhook(Shape, frozen=True):
    """A URL to which changes are sent. Its secret is shown only when it is made."""

    id: str
    url: str
    kinds: list[WebhookKind]
    enabled: bool
    created_at: Instant
    pending_deliveries: Annotated[Count, Meta(description="Not delivered yet.")]
    succeeded_at: Annotated[Instant | None, Meta(description="When it last took a delivery.")]
    failing_since: Annotated[Instant | None, Meta(description="The first failure after that.")]
    retry_at: Annotated[Instant | None, Meta(description="Nothing is sent before.")]
    disabled_at: Annotated[
        Instant | None, Meta(description="When it was disabled for failing; null where people did so.")
    ]
    error: Annotated[str | None, Meta(description="The last failure since the last success.")]


class MadeWebhook(Shape, frozen=True):
    """A new webhook and its secret."""

    webhook: Webhook
    secret: Annotated[str, Meta(description="Shown this once: for the check of signatures.")]


class WebhookTest(Shape, frozen=True):
    """A test delivery in the outbox."""

    delivery_id: str


class WebhookDelivery(Shape, frozen=True):
    """A message to one webhook."""

    id: Annotated[str, Meta(description="The header `webhook-id` is `msg_` and this.")]
    type: Annotated[str, Meta(examples=["event.changed"])]
    object_id: Annotated[
        str, Meta(description="Deliveries of one object are in order.", examples=["event/evt-1"])
    ]
    status: DeliveryStatus
    attempts: Count
    created_at: Instant
    next_attempt_at: Annotated[Instant | None, Meta(description="Null once it is delivered or given up.")]
    closed_at: Annotated[Instant | None, Meta(description="When it was delivered or given up.")]
    response_status: Annotated[int | None, Meta(description="Of the receiver's last answer.")]
    error: Annotated[str | None, Meta(description="Why the last attempt failed.")]


Role = Literal["viewer", "operator"]


class Session(Shape, frozen=True):
    """Who we take the caller for."""

    name: Annotated[str, Meta(description="The key's name; `anonymous` where no keys are asked for.")]
    role: Role
    expires_at: Annotated[Instant | None, Meta(description="When this ends by itself.")]


class AuditEntry(Shape, frozen=True):
    """A request that was allowed to change something."""

    id: str
    at: Instant
    who: Annotated[
        str,
        Meta(description="The key's name; `anonymous` where none are asked for; `terminal:` and a user."),
    ]
    role: Role
    method: Annotated[str, Meta(description="Or `keys`, at a terminal.", examples=["POST"])]
    path: Annotated[str, Meta(description="With its query; or what was done.", examples=["/api/events"])]
    status: Annotated[int | None, Meta(description="Of the answer; null if nobody saw how it ended.")]
    request_id: str
    client_address: str | None
    body: Annotated[
        Any, Meta(description="As it came; of what is no JSON, or long, `bytes` and its `start`.")
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
GroupVenIds = Annotated[list[VenId], Meta(max_length=100_000, description="Members by id.")]
Attributes = Annotated[list[Name], Meta(max_length=100)]
GroupLoadTypes = Annotated[Attributes, Meta(description="Members have a load of any of these types.")]
GroupRegions = Annotated[Attributes, Meta(description="Members lie in any of these regions.")]
GroupTags = Annotated[Attributes, Meta(description="Members bear each of these tags.")]


class Group(Shape, frozen=True, kw_only=True):
    """A group of VENs: those that it names, and those that meet every attribute that it gives."""

    id: str
    name: Annotated[str, Meta(description="Its id without one.")]
    ven_ids: GroupVenIds
    load_types: GroupLoadTypes
    regions: GroupRegions
    tags: GroupTags
    created_at: Instant


class GroupCreate(Shape, frozen=True, kw_only=True):
    """A new group. Without attributes it has the VENs that it names, and no others."""

    name: Name
    id: Annotated[GroupId | None, Meta(description="Without it, one is made up.")] = None
    ven_ids: GroupVenIds | None = None
    load_types: GroupLoadTypes | None = None
    regions: GroupRegions | None = None
    tags: GroupTags | None = None
    created_at: Ignored = UNSET


class GroupUpdate(Shape, frozen=True, kw_only=True):
    """What is to change of a group. What is not mentioned, or equals what GET shows, stays; null empties."""

    id: Ignored = UNSET
    name: Name | UnsetType | None = UNSET
    ven_ids: GroupVenIds | UnsetType | None = UNSET
    load_types: GroupLoadTypes | UnsetType | None = UNSET
    regions: GroupRegions | UnsetType | None = UNSET
    tags: GroupTags | UnsetType | None = UNSET
    created_at: Ignored = UNSET


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
    """At whom an event aims: VENs by id and members of groups; without either everybody. With types of load,
    only at VENs that have such a load, and there only at such loads.
    """

    groups: Annotated[list[str], Meta(description="Ids of groups.")]
    load_types: list[str]
    ven_ids: Annotated[list[str], Meta(description="The same as `venIds` beside it.")]


class TargetsGiven(Shape, frozen=True, kw_only=True):
    """At whom an event is to aim. What is not mentioned stays as it is; null takes it away."""

    groups: Annotated[list[GroupId], Meta(max_length=100)] | UnsetType | None = UNSET
    load_types: Annotated[list[Name], Meta(max_length=100)] | UnsetType | None = UNSET
    ven_ids: Annotated[
        Annotated[list[VenId], Meta(max_length=100_000)] | UnsetType | None,
        Meta(description="The same as `venIds` beside it."),
    ] = UNSET


TARGETS = "Groups, types of load, VENs; without it, or null, everybody."


class _ReadOnlyOfEvent(_ReadOnly, frozen=True, kw_only=True):
    """What GET shows of an event and no body can change."""

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
RANDOM_START = "Each VEN starts up to so much later; how much is random, and always the same."
STAGGERED_RETURN = "Each VEN returns up to so much after the end; how much is random, and always the same."
IMPORT_LIMIT = "No VEN is to draw more than this at its panel meanwhile. Told to those that understand it."
EXPORT_LIMIT = "No VEN is to feed in more than this at its panel meanwhile. Told to those that understand it."


class EventInterval(Shape, frozen=True):
    """A part of an event, which asks for its own kW. Each begins where the one before it ends."""

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
        description="kW by time from the start on; the rest asks for `requestedReductionKw`.",
    ),
]


class EventCreate(_ReadOnlyOfEvent, frozen=True, kw_only=True):
    """A new event. Times are ISO 8601; without `venIds` and `targets` everybody is asked."""

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
        VenIds | None, Meta(description="Whom to ask; without it, and without `targets`, everybody.")
    ] = None
    targets: Annotated[TargetsGiven | None, Meta(description=TARGETS)] = None
    priority: Annotated[
        Priority, Meta(description="Of two events that want a VEN at the same time, the higher one gets it.")
    ] = 0
    lead_time_s: Annotated[LeadTimeS | None, Meta(description="How long before the start VENs are told.")] = (
        None
    )
    direction: Direction = "reduce"
    intervals: Intervals | None = None
    randomize_start_s: Annotated[SpreadS, Meta(description=RANDOM_START)] = 0
    stagger_return_s: Annotated[SpreadS, Meta(description=STAGGERED_RETURN)] = 0
    import_limit_kw: Annotated[LimitKw | None, Meta(description=IMPORT_LIMIT)] = None
    export_limit_kw: Annotated[LimitKw | None, Meta(description=EXPORT_LIMIT)] = None


class PassedOver(Shape, frozen=True):
    """VENs that an event does not ask, and why."""

    reason: PassedOverReason
    vens: Annotated[int, Meta(ge=1)]


class AskedVen(Shape, frozen=True):
    """A VEN that an event would ask, and for what."""

    ven_id: str
    available_kw: Annotated[float, Meta(description="What it could shed now.")]
    requested_reduction_kw: float


class PassedOverVen(Shape, frozen=True):
    """A VEN that an event would not ask."""

    ven_id: str
    reason: PassedOverReason


class SimilarEvent(Shape, frozen=True):
    """What an event of the same hours and about the same length delivered, as settled."""

    event_id: str
    start_time: Instant
    end_time: Instant
    vens: Annotated[Count, Meta(description="Who took part.")]
    requested_kw: float
    delivered_kw: Annotated[float | None, Meta(description="Null where it could not be measured.")]
    performance_percent: float | None


class EventPreview(Shape, frozen=True, kw_only=True):
    """What an event would do, were it shared out now. Nothing is stored."""

    start_time: Instant
    end_time: Instant
    requested_reduction_kw: float
    available_kw: Annotated[float, Meta(description="What all that would be asked could shed now.")]
    shared_reduction_kw: Annotated[float, Meta(description="What they would be asked for together.")]
    targets: EventTargets
    vens: Annotated[list[AskedVen], Meta(description="Whom it would ask, by id.")]
    passed_over: Annotated[list[PassedOverVen], Meta(description="Whom it would not, by id.")]
    notes: Annotated[list[PassedOver], Meta(description="The numbers of these, by reason.")]
    similar_events: Annotated[list[SimilarEvent], Meta(description="The newest ten, newest first.")]
    similar_performance_percent: Annotated[
        float | None, Meta(description="Delivered of requested energy of all of them; null without any.")
    ]


class EventUpdate(_ReadOnlyOfEvent, frozen=True, kw_only=True):
    """What is to change of an event; once VENs have been sent it, not its start, its direction, its lead time
    and its random delay.

    What is not mentioned, or equals what GET shows, stays.
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
        Meta(description="Null, or none, asks for `requestedReductionKw` alone."),
    ] = UNSET
    randomize_start_s: SpreadS | UnsetType = UNSET
    stagger_return_s: SpreadS | UnsetType = UNSET
    import_limit_kw: LimitKw | UnsetType | None = UNSET
    export_limit_kw: LimitKw | UnsetType | None = UNSET


class Event(Shape, frozen=True, kw_only=True):
    """A demand response event. No number and no word is null."""

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
    lead_time_s: Annotated[float, Meta(description="How long before the start VENs are told.")]
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
    """How an event goes, or how it went."""

    current_reduction_kw: CurrentReductionKw
    vens_responding: VensResponding
    avg_response_ms: AvgResponseMs
    actual_reduction_kw: ActualReductionKw
    vens_reporting: VensReporting


class EventWithMetrics(Event, frozen=True, kw_only=True):
    """An event, and how it goes."""

    current_reduction_kw: CurrentReductionKw
    vens_responding: VensResponding
    avg_response_ms: AvgResponseMs
    vens_reporting: VensReporting


class EventVen(Shape, frozen=True):
    """One VEN's part in an event."""

    ven_id: str
    ven_name: str
    shed_kw: Annotated[
        float, Meta(description="For this event, now or at its end; once settled, on average.")
    ]
    status: ParticipationStatus
    requested_reduction_kw: Annotated[float, Meta(description="Its share of the request: now, or its last.")]
    acknowledged_at: Annotated[
        Instant | None, Meta(description="When it accepted; null if it has not, or opted out.")
    ]
    reason: Annotated[
        str, Meta(description="What the VEN, or the outbox, said of why not; empty without a word.")
    ]


class EventDetail(EventWithMetrics, frozen=True, kw_only=True):
    """An event, how it goes, and who takes part."""

    vens: list[EventVen]


class CircuitSnapshot(Shape, frozen=True, gc=False):
    """One sample of a load."""

    timestamp: Instant
    load_id: str
    name: str
    type: str
    capacity_kw: float
    current_power_kw: float
    shed_capability_kw: float
    enabled: bool
    priority: int


class CircuitHistory(Shape, frozen=True):
    """Samples of the loads of a VEN, oldest first."""

    ven_id: str
    load_id: Annotated[str | None, Meta(description="Null: of all its loads.")]
    snapshots: list[CircuitSnapshot]
    total_count: Annotated[Count, Meta(description="How many there are, also beyond `limit`.")]


class VenEvent(Shape, frozen=True):
    """A VEN's acknowledgement of a command."""

    id: str
    ven_id: str
    event_id: Annotated[str, Meta(description="Empty for a command outside of events.")]
    correlation_id: str
    op: str
    status: Annotated[str, Meta(examples=["acknowledged", "rejected"])]
    timestamp: Annotated[Instant, Meta(description="When the acknowledgement arrived.")]
    requested_shed_kw: float
    actual_shed_kw: Annotated[float, Meta(description="0 where the VEN did not say it.")]
    circuits_curtailed: Annotated[
        list[dict[str, Any]], Meta(description="Objects, as the VEN sent them; empty without any.")
    ]


class RejectedMessage(Shape, frozen=True):
    """A message that was refused, or a load of a message that was stored without it."""

    id: str
    received_at: Instant
    topic: str
    reason: Annotated[str, Meta(description="As the contract of the VENs has it.", examples=["not_json"])]
    detail: Annotated[str, Meta(description="What is wrong, in words.")]
    device_time: Annotated[Instant | None, Meta(description="Null where the message as a whole was refused.")]
    bytes: Annotated[Count, Meta(description="The length of what was refused.")]
    start: Annotated[str, Meta(description="Its first 1,000 bytes as UTF-8; what is none is replaced.")]


class BaselineChosen(Shape, frozen=True):
    """By what it is measured: what would have been used without the event."""

    name: BaselineName
    meaning: str


class Revision(Shape, frozen=True):
    """One settlement; it is never altered. What comes later stands in the next one."""

    revision: Annotated[int, Meta(ge=1)]
    settled_at: Instant


class Delivery(Shape, frozen=True):
    """What was delivered. A power is the energy of the covered time over the hours of the event."""

    requested_kw: float
    requested_kwh: Annotated[
        float | None,
        Meta(description="Of a VEN the integral of its shares over time; null in old revisions at most."),
    ]
    baseline_kw: float | None
    actual_kw: Annotated[float | None, Meta(description="What was used.")]
    delivered_kw: Annotated[
        float | None,
        Meta(
            description="Baseline less usage, negative where more was used; of an event that asks for more, "
            "usage less baseline. Null: unknown."
        ),
    ]
    delivered_kwh: float | None
    delivered_low_kw: Annotated[
        float | None,
        Meta(
            description="From here to `deliveredHighKw` lies what was delivered, in `intervalPercent` of a "
            "hundred cases, by what the baseline misses on similar days. Null: too few of these."
        ),
    ]
    delivered_high_kw: float | None
    performance_percent: Annotated[
        float | None, Meta(description="Of what was requested; null where nothing was.")
    ]
    coverage_percent: Annotated[
        float | None, Meta(description="The event's time that has both usage and a baseline.")
    ]
    rrmse_percent: Annotated[
        float | None,
        Meta(
            description="How far off the baseline is on days without events: its relative root mean square "
            "error, by the hour."
        ),
    ]
    days_used: Annotated[Count, Meta(description="Similar days that the baseline is made of.")]
    adjustment: Annotated[
        Literal["none", "multiplicative", "additive", "mixed"] | None,
        Meta(description="How the baseline was adjusted to the day; null where that was not recorded."),
    ]
    adjustment_kw: Annotated[float | None, Meta(description="What that adds, the mean over the event.")]
    adjustment_reason: Annotated[str | None, Meta(description="Why; of the portfolio, for how many VENs.")]
    note: Annotated[str | None, Meta(description="What to know about these figures.")]


class VenDelivery(Delivery, frozen=True, kw_only=True):
    """What one VEN delivered."""

    ven_id: str


class EventPerformance(Shape, frozen=True):
    """What an event delivered; provisional while it is not settled, and then without VENs and revisions."""

    event_id: str
    provisional: bool
    baseline: BaselineChosen
    revision: int | None
    settled_at: Instant | None
    revisions: list[Revision]
    baselines: Annotated[list[BaselineName], Meta(description="What can be asked for.")]
    interval_percent: Annotated[
        int,
        Meta(description="So many of a hundred intervals of `deliveredLowKw` and `deliveredHighKw` hold."),
    ]
    portfolio: Delivery
    vens: list[VenDelivery]


class BaselinePoint(Shape, frozen=True, gc=False):
    """Five minutes of a baseline: mean power of one VEN, or summed over VENs."""

    timestamp: BucketStart
    baseline_kw: Annotated[float | None, Meta(description="Null where there is none.")]
    used_power_kw: Annotated[float | None, Meta(description="What was used; null where nothing is known.")]


class BaselineSeries(Shape, frozen=True, kw_only=True):
    """What would be used without an event, by five minutes."""

    event_id: Annotated[str, Meta(description="Empty for a time of no event.")]
    ven_id: Annotated[str, Meta(description="Empty for all that take part together.")]
    baseline: BaselineChosen
    start: Instant
    end: Annotated[Instant, Meta(description="Itself not included.")]
    vens: Annotated[Count, Meta(description="How many VENs it is the sum of.")]
    days_used: Annotated[Count, Meta(description="Similar days that it is made of; 0 for several VENs.")]
    adjustment: Annotated[str | None, Meta(description="As in a settlement; null for several VENs.")]
    adjustment_kw: float | None
    adjustment_reason: str | None
    note: str | None
    points: list[BaselinePoint]


HalfHour = Annotated[
    Instant,
    Meta(
        description="Start of the half hour, a multiple of 30 minutes since the Unix epoch.",
        examples=["2026-01-15T18:00:00Z"],
    ),
]
UsedKw = Annotated[
    float | None,
    Meta(description="Mean power used, kW, negative where it is fed in; null with too few similar days."),
]
SheddableKw = Annotated[
    float | None,
    Meta(description="Mean shed capability of enabled loads, kW; null with too few similar days."),
]
SimilarDays = Annotated[Count, Meta(description="How many similar days have enough samples at that time.")]
ForecastOrigin = Annotated[
    Instant | None,
    Meta(description="The first half hour of the forecast when it was made; null without one."),
]
ForecastNote = Annotated[str, Meta(description="Present where a forecast is missing: what it lacks.")]


class ForecastPoint(Shape, frozen=True, gc=False):
    """One half hour of all loads: with one chance in ten it is below P10, with one in ten above P90."""

    timestamp: HalfHour
    used_p10_kw: UsedKw
    used_p50_kw: UsedKw
    used_p90_kw: UsedKw
    used_days: SimilarDays
    shed_capability_p10_kw: SheddableKw
    shed_capability_p50_kw: SheddableKw
    shed_capability_p90_kw: SheddableKw
    shed_capability_days: SimilarDays


class LoadTypeForecastPoint(Shape, frozen=True, gc=False):
    """One half hour of the loads of a type."""

    type: TypeOfPoint
    timestamp: HalfHour
    used_p10_kw: UsedKw
    used_p50_kw: UsedKw
    used_p90_kw: UsedKw
    used_days: SimilarDays
    shed_capability_p10_kw: SheddableKw
    shed_capability_p50_kw: SheddableKw
    shed_capability_p90_kw: SheddableKw
    shed_capability_days: SimilarDays


class Forecast(Shape, frozen=True):
    """What all loads together will use, and could shed, by half hour."""

    origin: ForecastOrigin
    time_zone: Annotated[str, Meta(description="The zone whose days are similar, `TIME_ZONE`.")]
    points: list[ForecastPoint]
    note: ForecastNote | UnsetType = UNSET


class LoadTypeForecasts(Shape, frozen=True):
    """What the loads of each type will use, and could shed, by half hour; one type after the other."""

    origin: ForecastOrigin
    time_zone: Annotated[str, Meta(description="The zone whose days are similar, `TIME_ZONE`.")]
    points: list[LoadTypeForecastPoint]
    note: ForecastNote | UnsetType = UNSET


class DayRuleShown(Shape, frozen=True):
    """The mean of the `highest` of the `last` eligible days; none with less than `fewest`."""

    highest: int
    last: int
    fewest: int


class AdjustmentShown(Shape, frozen=True):
    """How a baseline follows the day of the event, and in which hours before its start they are compared."""

    kind: Literal["none", "multiplicative", "additive", "by-load"]
    from_hours_before: int
    to_hours_before: int
    hours_after: Annotated[list[int], Meta(description="From and to, after the end; empty for none.")]
    cap_percent: Annotated[float | None, Meta(description="Null: no cap.")]


class BaselineMethod(Shape, frozen=True):
    """A baseline and its parameters."""

    name: BaselineName
    meaning: str
    is_primary: Annotated[bool, Meta(description="Events are measured by it first.")]
    is_computed: Annotated[bool, Meta(description="New settlements have it (`EVENT_BASELINES`).")]
    operator: Annotated[str, Meta(description="Whose rule it is; empty for none.")]
    source: str
    source_read: Annotated[
        bool, Meta(description="Whether the source's own text was read for this implementation.")
    ]
    differs: Annotated[str, Meta(description="In what it is known to differ from the source.")]
    weekday: Annotated[DayRuleShown | None, Meta(description="Null: of the event's day alone.")]
    weekend: DayRuleShown | None
    like_days: Annotated[bool, Meta(description="Saturdays for a Saturday, Sundays for a Sunday.")]
    holidays_count: Annotated[bool, Meta(description="Holidays are candidates, as weekend days.")]
    low_usage_percent: Annotated[float, Meta(description="Days below this part of the mean are dropped.")]
    chosen_by: Annotated[
        DayChoice,
        Meta(
            description="Which of the last days count: those of the highest usage, or those whose highest "
            "temperature is nearest to that of the event's day."
        ),
    ]
    look_back_days: int
    adjustment: AdjustmentShown


class Stopping(Shape, frozen=True):
    """It will be stopped within a second."""

    event_id: str
    status: Literal["stopping"] = "stopping"


class Health(Shape, frozen=True):
    """We are alive."""

    status: str = "ok"


class Readiness(Shape, frozen=True):
    """We can answer: the database is there, at the revision that we need, and up to date."""

    status: str
    revision: Annotated[str, Meta(examples=["0002"])]
    last_rollup_age_s: Annotated[float | None, Meta(description="Seconds since the totals were refreshed.")]
    replica_rollup_age_s: Annotated[
        float | None, Meta(description="The same, as the replica has it that is read from; null without one.")
    ] = None


class Problem(Shape, frozen=True):
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: Annotated[int, Meta(ge=400, le=599)]
    detail: Annotated[str, Meta(description="What would be right.")]
