"""What the API answers: the shapes of `docs/backend-api.md`. Powers are kW, energies kWh, times UTC."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from schemas.wire import LARGEST_KW, Priority

VenId = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\A[^\x00-\x1f]+\Z")]
EventId = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\A[^\x00-\x1f/]+\Z")]


class NetworkStats(Struct, rename="camel", frozen=True):
    """The network now. A number that cannot be known is null."""

    ven_count: int
    controllable_power_kw: float
    potential_load_reduction_kw: float
    household_usage_kw: float
    online_vens: int
    current_load_reduction_kw: float
    average_house_power: float | None
    total_house_power_today: float | None
    network_efficiency: float | None


class LoadTypeStats(Struct, rename="camel", frozen=True):
    """Totals over the latest values of all loads of a type."""

    type: str
    total_capacity_kw: float
    total_shed_capability_kw: float
    current_usage_kw: float


class PowerPoint(Struct, rename="camel", frozen=True):
    """One bucket of history: sums of samples, or their mean power."""

    timestamp: datetime
    used_power_kw: float
    shed_power_kw: float


class EnergyPoint(Struct, rename="camel", frozen=True):
    """One bucket of history as energy."""

    timestamp: datetime
    used_energy_kwh: float
    shed_energy_kwh: float


class Load(Struct, rename="camel", frozen=True):
    """The latest of one load."""

    id: str
    type: str | None
    capacity_kw: float
    shed_capability_kw: float
    current_power_kw: float | None
    name: str | None


class Location(Struct, frozen=True):
    """Degrees; null where nobody has said."""

    lat: float | None
    lon: float | None


class VenMetrics(Struct, rename="camel", frozen=True):
    """What a VEN does, and could do, now."""

    current_power_kw: float | None
    shed_availability_kw: float
    active_event_id: str | None
    shed_load_ids: list[str]


class Ven(Struct, rename="camel", frozen=True):
    """One VEN, with the latest of its loads."""

    id: str
    name: str
    status: str
    location: Location
    loads: list[Load]
    metrics: VenMetrics
    created_at: datetime
    last_seen: datetime | None


class VenSummary(Struct, rename="camel", frozen=True):
    """One line of the list of VENs. Powers in kW, the response time in ms."""

    id: str
    name: str
    location: str | None
    status: str
    controllable_power: float
    current_power: float | None
    address: str | None
    last_seen: datetime | None
    response_time: float | None


class EventCreate(Struct, rename="camel", frozen=True):
    """A new event. Times are ISO 8601; without `venIds` everybody is asked."""

    start_time: str
    end_time: str
    requested_reduction_kw: Annotated[float, Meta(gt=0, le=LARGEST_KW)]
    id: EventId | None = None
    ven_ids: Annotated[list[VenId], Meta(min_length=1, max_length=100_000)] | None = None
    priority: Priority = 0
    lead_time_s: Annotated[float, Meta(ge=0, le=86_400)] | None = None


class Event(Struct, rename="camel", frozen=True):
    """A demand response event; what it delivered is null until it is settled."""

    id: str
    status: str
    start_time: datetime
    end_time: datetime
    requested_reduction_kw: float
    actual_reduction_kw: float | None


class EventMetrics(Struct, rename="camel", frozen=True):
    """How an event goes, or how it went."""

    current_reduction_kw: float | None
    vens_responding: int
    avg_response_ms: float | None
    actual_reduction_kw: float | None


class EventWithMetrics(Event, rename="camel", frozen=True):
    """An event, and how it goes."""

    current_reduction_kw: float | None
    vens_responding: int
    avg_response_ms: float | None


class EventVen(Struct, rename="camel", frozen=True):
    """One VEN's part in an event."""

    ven_id: str
    ven_name: str
    shed_kw: float | None
    status: str


class EventDetail(EventWithMetrics, rename="camel", frozen=True):
    """An event, how it goes, and who takes part."""

    vens: list[EventVen]


class Stopping(Struct, rename="camel", frozen=True):
    """It will be stopped within a second."""

    event_id: str
    status: str = "stopping"


class Health(Struct, frozen=True):
    """We are alive."""

    status: str = "ok"


class Readiness(Struct, rename="camel", frozen=True):
    """We can answer: the database is there and at the revision that we need."""

    status: str
    revision: str
    last_rollup_age_s: float | None


class Problem(Struct, frozen=True):
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
