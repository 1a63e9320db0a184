"""What the API answers: the shapes of `docs/backend-api.md`. Powers are kW, energies kWh, times UTC."""

from datetime import datetime
from typing import Any

from msgspec import Struct


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


class Session(Struct, rename="camel", frozen=True):
    """Who we take the caller for, and how long."""

    name: str
    role: str
    expires_at: datetime | None


class AuditEntry(Struct, rename="camel", frozen=True):
    """A request that may have changed something; `status` is null if nobody saw how it ended."""

    id: int
    at: datetime
    who: str
    role: str
    method: str
    path: str
    status: int | None
    request_id: str
    client_address: str | None
    body: Any


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
