"""A user interface as in the field: the requests of each page, and the types of the answers.

The types are as strict as those of such a client: no null for a number or a text, integers for counts, arrays
that are never missing. Unknown keys are ignored.
"""

import urllib.request
from typing import Annotated, Any, TypeVar
from urllib.error import HTTPError

import msgspec
from msgspec import Meta, Struct

T = TypeVar("T")
Time = Annotated[str, Meta(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")]


class Camel(Struct, rename="camel", frozen=True):
    """Keys are camelCase."""


class NetworkStats(Camel, frozen=True):
    ven_count: int
    controllable_power_kw: float
    potential_load_reduction_kw: float
    household_usage_kw: float
    online_vens: int
    current_load_reduction_kw: float
    average_house_power: float | None
    total_house_power_today: float | None
    network_efficiency: float | None


class LoadTypeStats(Camel, frozen=True):
    type: str
    total_capacity_kw: float
    total_shed_capability_kw: float
    current_usage_kw: float


class Location(Camel, frozen=True):
    lat: float
    lon: float


class Load(Camel, frozen=True):
    id: str
    type: str
    capacity_kw: float
    shed_capability_kw: float
    current_power_kw: float
    name: str


class VenMetrics(Camel, frozen=True):
    current_power_kw: float
    shed_availability_kw: float
    active_event_id: str | None
    shed_load_ids: list[str]


class Ven(Camel, frozen=True):
    id: str
    name: str
    status: str
    location: Location
    loads: list[Load]
    metrics: VenMetrics
    created_at: Time
    last_seen: Time | None


class VenSummary(Camel, frozen=True):
    id: str
    name: str
    location: str
    status: str
    controllable_power: float
    current_power: float
    address: str
    last_seen: Time | None
    response_time: int


class Point(Camel, frozen=True):
    timestamp: Time
    used_power_kw: float
    shed_power_kw: float


class History(Camel, frozen=True):
    points: list[Point]


class Note(Camel, frozen=True):
    reason: str
    vens: int


class Event(Camel, frozen=True):
    id: str
    status: str
    start_time: Time
    end_time: Time
    requested_reduction_kw: float
    actual_reduction_kw: float
    planned_end_time: Time
    ven_ids: list[str]
    priority: int
    lead_time_s: float
    notes: list[Note]


class EventMetrics(Camel, frozen=True):
    current_reduction_kw: float
    vens_responding: int
    avg_response_ms: int
    actual_reduction_kw: float


class EventWithMetrics(Event, frozen=True, kw_only=True):
    current_reduction_kw: float
    vens_responding: int
    avg_response_ms: int


class EventVen(Camel, frozen=True):
    ven_id: str
    ven_name: str
    shed_kw: float
    status: str


class EventDetail(EventWithMetrics, frozen=True, kw_only=True):
    vens: list[EventVen]


class Snapshot(Camel, frozen=True):
    timestamp: Time
    load_id: str
    name: str
    type: str
    capacity_kw: float
    current_power_kw: float
    shed_capability_kw: float
    enabled: bool
    priority: int


class CircuitHistory(Camel, frozen=True):
    ven_id: str
    load_id: str | None
    snapshots: list[Snapshot]
    total_count: int


class VenEvent(Camel, frozen=True):
    id: str
    ven_id: str
    event_id: str
    correlation_id: str
    op: str
    status: str
    timestamp: Time
    requested_shed_kw: float
    actual_shed_kw: float
    circuits_curtailed: list[dict[str, Any]]


class ShedAccepted(Camel, frozen=True):
    status: str
    ven_id: str
    load_id: str
    amount_kw: float
    command_id: str


class Stopping(Camel, frozen=True):
    status: str
    event_id: str


class Health(Camel, frozen=True):
    status: str


class Ui:
    """Requests one Gridgate, and decodes its answers with the types above."""

    def __init__(self, http_url: str) -> None:
        self._http_url = http_url

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        request = urllib.request.Request(self._http_url + path, content, headers, method=method)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310
                return response.status, response.read()
        except HTTPError as error:
            return error.code, error.read()

    def get(self, path: str, shape: type[T]) -> T:
        status, content = self.ask("GET", path)
        assert status == 200, (path, status, content)
        return read(path, content, shape)

    def send(self, method: str, path: str, body: object, shape: type[T], status: int) -> T:
        answered, content = self.ask(method, path, body)
        assert answered == status, (method, path, answered, content)
        return read(path, content, shape)

    def plain(self, path: str) -> Any:
        """An answer without a type, to be sent back."""
        return self.get(path, object)

    def overview(self) -> NetworkStats:
        self.get("/api/stats/loads", list[LoadTypeStats])
        self.get("/api/stats/network/history", History)
        self.get("/api/stats/network/history?granularity=15m&start=2024-07-10T15:00:00Z", History)
        current: Any = EventWithMetrics | None
        self.get("/api/events/current", current)
        return self.get("/api/stats/network", NetworkStats)

    def fleet(self) -> dict[str, VenSummary]:
        """The list, and the map."""
        self.get("/api/vens", list[Ven])
        return {ven.id: ven for ven in self.get("/api/vens/summary", list[VenSummary])}

    def ven_page(self, ven_id: str) -> Ven:
        path = f"/api/vens/{ven_id}"
        ven = self.get(path, Ven)
        assert [load.id for load in self.get(f"{path}/loads", list[Load])] == [load.id for load in ven.loads]
        self.get(f"{path}/history?granularity=1m", History)
        self.get(f"{path}/events?limit=20", list[VenEvent])
        self.get(f"{path}/circuits/history?limit=20", CircuitHistory)
        for load in ven.loads:
            self.get(f"{path}/loads/{load.id}", Load)
            self.get(f"{path}/loads/{load.id}/history", History)
            self.get(f"{path}/circuits/history?load_id={load.id}", CircuitHistory)
        return ven

    def events_page(self) -> dict[str, Event]:
        """All events, by id; the ones that ran or run are those of the history."""
        past = self.get("/api/events/history", list[Event])
        assert past == sorted(past, key=lambda event: (event.start_time, event.id), reverse=True)
        listed = {event.id: event for event in self.get("/api/events", list[Event])}
        assert {event.id for event in past} <= listed.keys()
        return listed

    def event_page(self, event_id: str) -> EventDetail:
        self.get(f"/api/events/{event_id}/metrics", EventMetrics)
        return self.get(f"/api/events/{event_id}", EventDetail)

    def live(self) -> NetworkStats:
        """The first totals of the live stream."""
        with urllib.request.urlopen(f"{self._http_url}/api/stream", timeout=20) as stream:  # noqa: S310
            lines = (line.decode().strip() for line in stream)
            assert "event: network" in lines  # reads up to it
            data = next(line for line in lines if line.startswith("data: "))
        return read("/api/stream", data.removeprefix("data: ").encode(), NetworkStats)

    def settings_page(self) -> None:
        assert self.get("/health", Health).status == "ok"
        self.get("/health/db-check", Health)
        self.get("/openapi.json", dict[str, Any])

    def walk(self) -> None:
        """Every page, with each VEN and each event."""
        self.overview()
        for ven_id in self.fleet():
            self.ven_page(ven_id)
        for event_id in self.events_page():
            self.event_page(event_id)
        self.live()
        self.settings_page()


def read(where: str, content: bytes, shape: type[T]) -> T:
    """Decode an answer; a key that is missing, null or of another type fails the test."""
    try:
        return msgspec.json.decode(content, type=shape)
    except msgspec.ValidationError as error:
        raise AssertionError(f"{where}: {error}: {content[:2000]!r}") from None
