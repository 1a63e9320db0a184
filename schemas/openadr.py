"""The shapes of OpenADR 3.1 requests and tokens. Names are those of the specification.

A server adds the metadata of an object (`id`, times, `objectType`). Payload types are open: unknown ones are
stored as received. Null means a missing field.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field, structs

SPECIAL_WORDS = {"id": "ID", "url": "Url"}
DURATION_PATTERN = (
    r"^(-?)P(?=\d|T\d)(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)([DW]))?"
    r"(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?(?!\n)$"
)
INSTANT_PATTERN = r"^\d{4}-\d{2}-\d{2}(?:[Tt ]\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:[Zz]|[+-]\d{2}:\d{2})?)?(?!\n)$"
URI_PATTERN = r"^[A-Za-z][A-Za-z0-9+.-]*:(?:[A-Za-z0-9._~:/?#@!$&\x27()*+,;=\[\]-]|%[0-9A-Fa-f]{2})+(?!\n)$"
OBJECT_ID_PATTERN = r"^[a-zA-Z0-9_-]+(?!\n)$"

PATTERNS = {
    DURATION_PATTERN: "a duration in ISO 8601, such as PT1H",
    INSTANT_PATTERN: "a time by RFC 3339, such as 2026-01-15T12:00:00Z, or 0001-01-01 for now",
    URI_PATTERN: "a URL, such as https://home.example/events",
    OBJECT_ID_PATTERN: "an id of letters, digits, `_` and `-`",
}
"""The patterns in words, for error messages."""

ObjectType = Literal["PROGRAM", "EVENT", "REPORT", "SUBSCRIPTION", "VEN", "RESOURCE"]
Operation = Literal["CREATE", "READ", "UPDATE", "DELETE"]
ObjectId = Annotated[
    str, Meta(pattern=OBJECT_ID_PATTERN, max_length=128, description="Given by this server.")
]
Word = Annotated[str, Meta(min_length=1, max_length=128)]
Text = Annotated[str, Meta(max_length=65_536)]
Url = Annotated[str, Meta(pattern=URI_PATTERN, max_length=8_000)]
InstantText = Annotated[str, Meta(pattern=INSTANT_PATTERN, description="RFC 3339; `0001-01-01` means now.")]
DurationText = Annotated[
    str, Meta(pattern=DURATION_PATTERN, description="ISO 8601; `P9999Y` means for ever.")
]
Int32 = Annotated[int, Meta(ge=-(2**31), lt=2**31)]


def specified_name(name: str) -> str:
    """Return the name of a field in the specification: `programID`, `callbackUrl`."""
    first, *others = name.split("_")
    return first + "".join(SPECIAL_WORDS.get(word, word.capitalize()) for word in others)


class OpenAdrShape(Struct, frozen=True, kw_only=True, omit_defaults=True, rename=specified_name):
    """The base of all shapes."""


class OpenAdrPoint(OpenAdrShape, frozen=True, kw_only=True):
    x: float
    y: float


class ValuesMap(OpenAdrShape, frozen=True, kw_only=True):
    """Values of one type; types are open."""

    type: Word
    values: list[int | float | str | bool | OpenAdrPoint]


class IntervalPeriod(OpenAdrShape, frozen=True, kw_only=True):
    start: InstantText | None = None
    duration: DurationText | None = None
    randomize_start: DurationText | None = None


class Interval(OpenAdrShape, frozen=True, kw_only=True):
    id: Int32
    interval_period: IntervalPeriod | None = None
    payloads: list[ValuesMap]


class ProgramDescription(OpenAdrShape, frozen=True, kw_only=True):
    url: Url = field(name="URL")


class EventPayloadDescriptor(OpenAdrShape, frozen=True, kw_only=True):
    object_type: Literal["EVENT_PAYLOAD_DESCRIPTOR"]
    payload_type: Word
    units: Word | None = None
    currency: Text | None = None


class PayloadDescriptor(OpenAdrShape, frozen=True, kw_only=True):
    """A payload descriptor of events or reports, by `objectType`; programs have both."""

    object_type: Literal["EVENT_PAYLOAD_DESCRIPTOR", "REPORT_PAYLOAD_DESCRIPTOR"]
    payload_type: Word
    units: Word | None = None
    currency: Text | None = None
    reading_type: Word | None = None
    accuracy: float | None = None
    confidence: Annotated[int, Meta(ge=0, le=100)] | None = None


class ReportPayloadDescriptor(OpenAdrShape, frozen=True, kw_only=True):
    object_type: Literal["REPORT_PAYLOAD_DESCRIPTOR"]
    payload_type: Word
    reading_type: Word | None = None
    units: Word | None = None
    accuracy: float | None = None
    confidence: Annotated[int, Meta(ge=0, le=100)] | None = None


class ReportDescriptor(OpenAdrShape, frozen=True, kw_only=True):
    """A report that an event requests from VENs."""

    payload_type: Word
    reading_type: Word | None = None
    units: Word | None = None
    targets: list[Word] | None = None
    aggregate: bool | None = None
    start_interval: Int32 | None = None
    num_intervals: Int32 | None = None
    historical: bool | None = None
    frequency: Int32 | None = None
    repeat: Int32 | None = None
    report_intervals: Literal["INTERVALS", "SUB_INTERVALS", "OPEN_INTERVALS"] | None = None


class ProgramRequest(OpenAdrShape, frozen=True, kw_only=True):
    program_name: Word
    interval_period: IntervalPeriod | None = None
    program_descriptions: list[ProgramDescription] | None = None
    payload_descriptors: list[PayloadDescriptor] | None = None
    attributes: list[ValuesMap] | None = None
    targets: list[Word] | None = None


class EventRequest(OpenAdrShape, frozen=True, kw_only=True):
    program_id: ObjectId
    event_name: Text | None = None
    duration: DurationText | None = None
    priority: Annotated[int, Meta(ge=0, lt=2**31)] | None = None
    """A lower number goes before a higher one."""
    targets: list[Word] | None = None
    report_descriptors: list[ReportDescriptor] | None = None
    payload_descriptors: list[EventPayloadDescriptor] | None = None
    interval_period: IntervalPeriod | None = None
    intervals: list[Interval] | None = None


class ReportResource(OpenAdrShape, frozen=True, kw_only=True):
    resource_name: Word
    interval_period: IntervalPeriod | None = None
    intervals: list[Interval]


class ReportRequest(OpenAdrShape, frozen=True, kw_only=True):
    event_id: ObjectId
    client_name: Word
    report_name: Text | None = None
    payload_descriptors: list[ReportPayloadDescriptor] | None = None
    resources: list[ReportResource]


class ReportingVen(Struct, frozen=True):
    """A VEN of a reporting client: its id here, its OpenADR names, and its loads by resource."""

    ven_id: str
    names: list[str]
    loads: dict[str, str]


class ObjectOperation(OpenAdrShape, frozen=True, kw_only=True):
    """The operations and objects for which a webhook is called."""

    objects: list[ObjectType]
    operations: list[Operation]
    callback_url: Url
    bearer_token: Text | None = None


class SubscriptionRequest(OpenAdrShape, frozen=True, kw_only=True):
    client_name: Word
    program_id: ObjectId | None = None
    object_operations: list[ObjectOperation]
    targets: list[Word] | None = None


class VenRequest(OpenAdrShape, frozen=True, kw_only=True):
    """`BL_VEN_REQUEST`: by a utility, which names the client and grants targets; else by the VEN itself."""

    object_type: Literal["BL_VEN_REQUEST", "VEN_VEN_REQUEST"]
    ven_name: Word
    client_id: Word | None = None
    targets: list[Word] | None = None
    attributes: list[ValuesMap] | None = None


class ResourceRequest(OpenAdrShape, frozen=True, kw_only=True):
    """`BL_RESOURCE_REQUEST`: by a utility, which names the client and grants targets; else by the VEN."""

    object_type: Literal["BL_RESOURCE_REQUEST", "VEN_RESOURCE_REQUEST"]
    resource_name: Word
    ven_id: ObjectId
    client_id: Word | None = None
    targets: list[Word] | None = None
    attributes: list[ValuesMap] | None = None


Request = ProgramRequest | EventRequest | ReportRequest | SubscriptionRequest | VenRequest | ResourceRequest


class OpenAdrProgram(ProgramRequest, frozen=True, kw_only=True):
    id: ObjectId
    created_date_time: InstantText
    modification_date_time: InstantText
    object_type: Literal["PROGRAM"]


class OpenAdrEvent(EventRequest, frozen=True, kw_only=True):
    id: ObjectId
    created_date_time: InstantText
    modification_date_time: InstantText
    object_type: Literal["EVENT"]


class OpenAdrReport(ReportRequest, frozen=True, kw_only=True):
    id: ObjectId
    created_date_time: InstantText
    modification_date_time: InstantText
    object_type: Literal["REPORT"]
    client_id: Word


class OpenAdrSubscription(SubscriptionRequest, frozen=True, kw_only=True):
    id: ObjectId
    created_date_time: InstantText
    modification_date_time: InstantText
    object_type: Literal["SUBSCRIPTION"]
    client_id: Word


class OpenAdrVen(OpenAdrShape, frozen=True, kw_only=True):
    id: ObjectId
    created_date_time: InstantText
    modification_date_time: InstantText
    object_type: Literal["VEN"]
    client_id: Word
    ven_name: Word
    targets: list[Word] | None = None
    attributes: list[ValuesMap] | None = None


class OpenAdrResource(OpenAdrShape, frozen=True, kw_only=True):
    id: ObjectId
    created_date_time: InstantText
    modification_date_time: InstantText
    object_type: Literal["RESOURCE"]
    client_id: Word
    resource_name: Word
    ven_id: ObjectId
    targets: list[Word] | None = None
    attributes: list[ValuesMap] | None = None


class TokenRequest(Struct, frozen=True, kw_only=True):
    """The form of `auth/token`, by RFC 6749."""

    grant_type: Literal["client_credentials"]
    client_id: Annotated[str, Meta(min_length=1, max_length=4_096)]
    client_secret: Annotated[str, Meta(min_length=1, max_length=4_096)]
    scope: Annotated[str, Meta(max_length=4_096)] = ""


class TokenResponse(Struct, frozen=True, kw_only=True):
    access_token: str
    token_type: Literal["Bearer"]
    expires_in: int
    scope: str


class TokenError(Struct, frozen=True, omit_defaults=True):
    """An error of `auth/token`, by RFC 6749."""

    error: Literal["invalid_request", "invalid_client", "invalid_scope", "unsupported_grant_type"]
    error_description: str = ""


class AuthServer(Struct, frozen=True):
    token_url: Url = field(name="tokenURL")


MqttAuthentication = Literal["ANONYMOUS", "OAUTH2_BEARER_TOKEN", "CERTIFICATE"]
CLIENT_ID = "{clientID}"
"""Placeholder of the user name at the broker: the client's id, which the client fills in."""


class Anonymous(Struct, frozen=True, tag_field="method", tag="ANONYMOUS"):
    """The broker admits anonymous clients."""


class BearerToken(Struct, frozen=True, tag_field="method", tag="OAUTH2_BEARER_TOKEN"):
    """A client's user name is its id, its password a token."""

    username: str = CLIENT_ID


class Certificate(Struct, frozen=True, rename="camel", tag_field="method", tag="CERTIFICATE"):
    """A client has its own certificate, whose common name is its id, issued elsewhere."""

    ca_cert: str = ""
    client_cert: str = ""
    client_key: str = ""


class MqttBinding(Struct, frozen=True):
    """How clients reach the broker."""

    uris: tuple[str, ...] = field(name="URIS")
    authentication: Anonymous | BearerToken | Certificate
    serialization: Literal["JSON"] = "JSON"


class Notifiers(Struct, frozen=True, omit_defaults=True):
    webhook: bool = field(name="WEBHOOK")
    mqtt: MqttBinding | None = field(name="MQTT", default=None)


class OperationTopics(Struct, frozen=True, rename="upper", omit_defaults=True):
    """The topic of each operation. One object's creation cannot be subscribed to."""

    update: str
    delete: str
    all: str
    create: str | UnsetType = UNSET


class Topics(Struct, frozen=True):
    topics: OperationTopics


def authentication(method: MqttAuthentication, ca_cert: str) -> Anonymous | BearerToken | Certificate:
    """Return how the broker authenticates clients, as shown to them."""
    match method:
        case "ANONYMOUS":
            return Anonymous()
        case "CERTIFICATE":
            return Certificate(ca_cert)
        case "OAUTH2_BEARER_TOKEN":
            return BearerToken()


def plain(request: Struct) -> dict[str, object]:
    """Return a request as plain JSON values, without missing or null fields."""
    pairs = ((each.encode_name, getattr(request, each.name)) for each in structs.fields(request))
    return {name: _plain(part) for name, part in pairs if part is not None}


def _plain(value: object) -> object:
    if isinstance(value, Struct):
        return plain(value)
    return [_plain(each) for each in value] if isinstance(value, list) else value


def periods(request: Request) -> Iterator[tuple[str, IntervalPeriod]]:
    """Yield each interval period of a request, with the path of its field."""
    if isinstance(request, ReportRequest):
        for number, part in enumerate(request.resources):
            yield from _periods(f"resources[{number}].", part.interval_period, part.intervals)
    elif isinstance(request, EventRequest):
        yield from _periods("", request.interval_period, request.intervals or ())
    elif isinstance(request, ProgramRequest):
        yield from _periods("", request.interval_period, ())


def _periods(
    path: str, period: IntervalPeriod | None, intervals: Sequence[Interval]
) -> Iterator[tuple[str, IntervalPeriod]]:
    if period is not None:
        yield f"{path}intervalPeriod", period
    for number, interval in enumerate(intervals):
        if interval.interval_period is not None:
            yield f"{path}intervals[{number}].intervalPeriod", interval.interval_period
