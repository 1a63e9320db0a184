"""One home: its loads, and what it reads at a moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from local.fleet.chance import between, draw, trait
from local.fleet.events import Event, last_ended, rebound, scheduled_event
from local.fleet.profiles import PROFILES, Key, battery_soc, living
from local.fleet.weather import Weather, weather_at

_CATALOGUE = (
    # type, name, how often, capacity from and to in kW, share that it can shed, priority (lower sheds first)
    ("ev", "Car charger", 0.45, 3.7, 11.0, 1.0, 1),
    ("pool_heater", "Pool heater", 0.12, 2.0, 4.0, 1.0, 2),
    ("water_heater", "Water heater", 0.55, 1.5, 3.0, 1.0, 3),
    ("hvac", "Heat pump", 0.85, 2.0, 5.0, 0.7, 4),
    ("lighting", "Lighting", 0.5, 0.4, 1.2, 0.2, 5),
    ("solar", "Roof", 0.45, 3.0, 9.0, 0.0, 9),
    ("battery", "Battery", 0.3, 3.0, 5.0, 0.0, 9),
)
_MOST_LOADS = 6
_TAKES_PART = 0.9
_OWED_SHARE = 0.35


@dataclass(frozen=True)
class Load:
    """Capacity in kW; `sheddable` is the share of its power that it can give up."""

    load_id: str
    kind: str
    name: str
    capacity_kw: float
    sheddable: float
    priority: int
    key: Key

    def natural_kw(self, ts: float, weather: Weather, surge: float) -> float:
        """What it draws when nobody asks it to shed; after an event, `surge` (0 to 1) makes up for it."""
        share = PROFILES[self.kind](self.key, ts, weather)
        return self.capacity_kw * min(1.0, share * (1 + 0.25 * surge * self.sheddable))


@dataclass(frozen=True)
class LoadReading:
    """Powers in kW at the load; generation is negative."""

    load: Load
    power_kw: float
    shed_kw: float

    @property
    def capability_kw(self) -> float:
        """How much it could shed from now on."""
        return round(max(0.0, self.power_kw) * self.load.sheddable, 3)


@dataclass(frozen=True)
class Reading:
    """A home at one moment, kW at the panel: loads and the unmetered rest, net of generation."""

    ts: float
    used_kw: float
    shed_kw: float
    rest_kw: float
    loads: tuple[LoadReading, ...]
    soc: float | None
    event: Event | None
    requested_kw: float | None


@dataclass(frozen=True)
class Household:
    """The home behind one VEN. `index` counts from 1."""

    seed: int
    index: int

    @property
    def ven_id(self) -> str:
        return f"ven-{self.index:04d}"

    @property
    def loads(self) -> tuple[Load, ...]:
        return _furnish(self.seed, self.ven_id)

    def owed_kw(self, event: Event) -> float:
        """What an event asks of this home."""
        if event.requested_kw is not None:
            return event.requested_kw
        return round(_OWED_SHARE * sum(load.capacity_kw * load.sheddable for load in self.loads), 1)

    def event_at(self, ts: float, commanded: Sequence[Event] = ()) -> Event | None:
        """The event that this home follows: one that it was told of, or the daily one if it takes part."""
        told = next((event for event in commanded if event.runs_at(ts)), None)
        daily = scheduled_event(ts)
        if told or daily is None:
            return told
        return daily if self._takes_part(daily) else None

    def read(self, ts: float, commanded: Sequence[Event] = ()) -> Reading:
        """The home at `ts`, Unix seconds."""
        weather = weather_at(self.seed, ts)
        event = self.event_at(ts, commanded)
        surge = self._surge(ts, event)
        loads = _share_out(
            [(load, load.natural_kw(ts, weather, surge)) for load in self.loads],
            self.owed_kw(event) if event else 0.0,
        )
        rest = round(
            trait(0.2, 0.9, self.seed, self.ven_id, "rest") * living((self.seed, self.ven_id, "rest"), ts),
            3,
        )
        return Reading(
            ts=ts,
            used_kw=round(rest + sum(reading.power_kw for reading in loads), 3),
            shed_kw=round(sum(reading.shed_kw for reading in loads), 3),
            rest_kw=rest,
            loads=loads,
            soc=self._soc(ts),
            event=event,
            requested_kw=self.owed_kw(event) if event else None,
        )

    def _takes_part(self, event: Event) -> bool:
        return trait(0, 1, self.seed, self.ven_id, event.event_id) < _TAKES_PART

    def _surge(self, ts: float, event: Event | None) -> float:
        """How far the loads make up for the last event, 0 to 1."""
        ended = None if event else last_ended(ts)
        return rebound(ended, ts) if ended and self._takes_part(ended) else 0.0

    def _soc(self, ts: float) -> float | None:
        battery = next((load for load in self.loads if load.kind == "battery"), None)
        return round(battery_soc(battery.key, ts), 3) if battery else None


def _share_out(natural: list[tuple[Load, float]], owed_kw: float) -> tuple[LoadReading, ...]:
    """Take what is owed from the loads that can give, in the order of their priority."""
    readings = []
    for load, power_kw in sorted(natural, key=lambda pair: (pair[0].priority, pair[0].load_id)):
        shed_kw = round(min(owed_kw, max(0.0, power_kw) * load.sheddable), 3)
        owed_kw -= shed_kw
        readings.append(LoadReading(load, round(power_kw - shed_kw, 3) + 0.0, shed_kw))
    return tuple(readings)


@lru_cache(maxsize=100_000)
def _furnish(seed: int, ven_id: str) -> tuple[Load, ...]:
    """Two to six loads, some of a kind rarer than others; every home has light and warm water at least."""
    wanted = [row for row in _CATALOGUE if draw(seed, ven_id, "has", row[0]) < row[2]]
    fewest = [row for row in _CATALOGUE if row[0] in {"lighting", "water_heater"}]
    chosen = wanted[:_MOST_LOADS] if len(wanted) > 1 else fewest
    return tuple(_load((seed, ven_id, row[0]), row) for row in chosen)


def _load(key: Key, row: tuple[str, str, float, float, float, float, int]) -> Load:
    kind, name, _, smallest, largest, sheddable, priority = row
    capacity = round(between(smallest, largest, *key, "capacity"), 1)
    return Load(f"{kind.split('_')[0]}1", kind, name, capacity, sheddable, priority, key)
