"""One home: its loads, and its reading at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from local.fleet.homes.control_state import INITIAL_STATE, ControlState
from local.fleet.homes.events import ShedEvent
from local.fleet.homes.profiles import PROFILES, Key, battery_soc, living
from local.fleet.homes.randomness import between, draw, trait
from local.fleet.homes.weather import DAY_S, HeatWave, Weather, weather_at

_CATALOGUE = (
    # type, name, how often, capacity from and to in kW, share of its power that it can shed, share of the
    # energy shed that comes back afterwards, priority (lower sheds first)
    ("ev", "Car charger", 0.45, 3.7, 11.0, 1.0, 0.8, 1),
    ("pool_heater", "Pool heater", 0.12, 2.0, 4.0, 1.0, 0.5, 2),
    ("water_heater", "Water heater", 0.55, 1.5, 3.0, 1.0, 0.8, 3),
    ("hvac", "Heat pump", 0.85, 2.0, 5.0, 0.7, 0.6, 4),
    ("lighting", "Lighting", 0.5, 0.4, 1.2, 0.2, 0.0, 5),
    ("solar", "Roof", 0.45, 3.0, 9.0, 0.0, 0.0, 9),
    ("battery", "Battery", 0.3, 3.0, 5.0, 0.0, 0.0, 9),
    ("home_battery", "Battery that feeds in", 0.0, 4.0, 6.0, 0.0, 0.0, 9),
    ("v2g", "Car that feeds in", 0.0, 5.0, 7.0, 0.0, 0.0, 9),
)
FURNISHINGS = {
    "plain": ("hvac", "water_heater", "lighting"),
    "ev": ("ev", "water_heater", "lighting"),
    "pv": ("solar", "hvac", "lighting"),
    "battery": ("solar", "battery", "water_heater", "lighting"),
    "exporter": ("home_battery", "lighting"),
    "v2g": ("v2g", "hvac", "lighting"),
}
"""Kinds of homes by their loads, to measure each."""
_MOST_LOADS = 6
_DEFAULT_SHARE = 0.35
_STEADY_DAY = 1_767_571_200  # 2026-01-05, the day that is every day for a steady home
_STEP_S = 300
_ENERGY_STEPS = 12  # an event's energy is added up from so many readings


@dataclass(frozen=True)
class HouseholdLoad:
    """`sheddable`: its share of power that can be shed; `returning`: the share of shed energy that rebounds.

    `rated_kw` is its design power; `capacity_kw` the limit that people set.
    """

    load_id: str
    kind: str
    name: str
    rated_kw: float
    capacity_kw: float
    sheddable: float
    returning: float
    priority: int
    key: Key
    enabled: bool = True

    def natural_kw(self, ts: float, weather: Weather) -> float:
        """Its power without a reduction."""
        power_kw = self.rated_kw * PROFILES[self.kind](self.key, ts, weather)
        return max(-self.capacity_kw, min(self.capacity_kw, power_kw))


@dataclass(frozen=True)
class LoadReading:
    """Powers in kW at the load; generation is negative."""

    load: HouseholdLoad
    power_kw: float
    shed_kw: float

    @property
    def capability_kw(self) -> float:
        """How much it could shed from now on."""
        return round(max(0.0, self.power_kw) * self.load.sheddable, 3)


@dataclass(frozen=True)
class HouseholdReading:
    """A home at one moment, kW at the panel: loads and the unmetered rest, net of generation.

    `natural_kw` is the power if there had never been an event, which only a simulation can compute.
    """

    ts: float
    used_kw: float
    shed_kw: float
    natural_kw: float
    rest_kw: float
    loads: tuple[LoadReading, ...]
    soc: float | None
    event: ShedEvent | None
    requested_kw: float | None
    is_recovering: bool


@dataclass(frozen=True)
class Household:
    """The home behind one VEN. `index` counts from 1.

    A steady one has the same power at the same time of every day, in steps of five minutes, so that
    baselines can be checked exactly.
    """

    seed: int
    index: int
    is_steady: bool = False
    heat_wave: HeatWave | None = None
    furnishing: str | None = None
    """One of `FURNISHINGS`; without: random loads."""

    prefix: str = "ven"
    """Of the VEN's id: another prefix, another home."""

    @property
    def ven_id(self) -> str:
        return f"{self.prefix}-{self.index:04d}"

    @property
    def loads(self) -> tuple[HouseholdLoad, ...]:
        return _choose_loads(self.seed, self.ven_id, self.furnishing)

    def loads_under(self, state: ControlState) -> tuple[HouseholdLoad, ...]:
        """The loads with the settings of commands."""
        if not state.load_settings:
            return self.loads
        return tuple(replace(load, **state.of_load(load.load_id)) for load in self.loads)

    def request_kw(self, event: ShedEvent, ts: float) -> float:
        """The request of an event to this home at `ts`."""
        wanted_kw = event.wanted_kw(ts)
        if wanted_kw is not None:
            return wanted_kw
        return round(_DEFAULT_SHARE * sum(load.capacity_kw * load.sheddable for load in self.loads), 1)

    def read(self, ts: float, state: ControlState = INITIAL_STATE) -> HouseholdReading:
        """The home at `ts`, Unix seconds."""
        when = _STEADY_DAY + ts % DAY_S // _STEP_S * _STEP_S if self.is_steady else ts
        weather = self._weather(when)
        rest = self._rest_kw(when)
        natural = [(load, round(load.natural_kw(when, weather), 3)) for load in self.loads_under(state)]
        load_powers = self._rebounding(natural, ts, state)
        running = [event for event in state.events if event.runs_at(ts)]
        raised = _raised(_curtailed(load_powers, rest, running), self._more_kw(running, ts))
        loads = _share_out(raised, *self._reductions(running, ts, rest + _total(raised), state))
        event = next((each for each in running if each.load_id is None), running[0] if running else None)
        return HouseholdReading(
            ts=ts,
            used_kw=round(rest + sum(reading.power_kw for reading in loads), 3),
            shed_kw=round(sum(reading.shed_kw for reading in loads), 3),
            natural_kw=round(rest + _total(natural), 3),
            rest_kw=rest,
            loads=loads,
            soc=self._soc(when),
            event=event,
            requested_kw=self.request_kw(event, ts) if event else None,
            is_recovering=any(each.rebounds_at(ts) for each in state.events),
        )

    def _weather(self, ts: float) -> Weather:
        usual = weather_at(self.seed, ts)
        return self.heat_wave.warm(usual, ts) if self.heat_wave else usual

    def _rest_kw(self, ts: float) -> float:
        """The power of everything that is no load."""
        key = (self.seed, self.ven_id, "rest")
        return round(trait(0.2, 0.9, *key) * living(key, ts), 3)

    def _rebounding(
        self, natural: list[tuple[HouseholdLoad, float]], ts: float, state: ControlState
    ) -> list[tuple[HouseholdLoad, float]]:
        """The power of loads without a reduction: the natural one, and the rebound of ended events."""
        ended = [
            (event, _shed_kwh(self, state.only(event))) for event in state.events if event.rebounds_at(ts)
        ]
        if not ended:
            return natural
        return [
            (load, _topped_up(load, power_kw, sum(e.rebound_kw(ts, kwh[load.load_id]) for e, kwh in ended)))
            for load, power_kw in natural
        ]

    def _reductions(
        self, running: Sequence[ShedEvent], ts: float, wanted_kw: float, state: ControlState
    ) -> tuple[float, dict[str, float]]:
        """Return the requested reduction at `ts` of the panel, and by single loads."""
        above_target = 0.0 if state.target_power_kw is None else wanted_kw - state.target_power_kw
        panel = next((event for event in running if event.load_id is None), None)
        of_panel_kw = self.request_kw(panel, ts) * panel.depth(ts) if panel and not panel.is_more else 0.0
        if panel and panel.import_limit_kw is not None:
            above_target = max(above_target, wanted_kw - panel.import_limit_kw)
        of_loads = {
            event.load_id: self.request_kw(event, ts) * event.depth(ts)
            for event in reversed(running)  # the latest event of a load counts
            if event.load_id is not None
        }
        return max(of_panel_kw, above_target), of_loads

    def _more_kw(self, running: Sequence[ShedEvent], ts: float) -> float:
        """What loads are to draw more at `ts`."""
        panel = next((event for event in running if event.load_id is None), None)
        return self.request_kw(panel, ts) * panel.depth(ts) if panel and panel.is_more else 0.0

    def _soc(self, ts: float) -> float | None:
        battery = next((load for load in self.loads if load.kind == "battery"), None)
        return round(battery_soc(battery.key, ts), 3) if battery else None


def _total(powers: list[tuple[HouseholdLoad, float]]) -> float:
    return sum(power_kw for _, power_kw in powers)


def _topped_up(load: HouseholdLoad, power_kw: float, more_kw: float) -> float:
    """The power with a rebound, which is limited by the load's capacity."""
    return max(power_kw, min(load.capacity_kw, power_kw + load.returning * more_kw))


@lru_cache(maxsize=20_000)
def _shed_kwh(home: Household, state: ControlState) -> dict[str, float]:
    """The energy that each load shed in the one event of `state`, kWh."""
    [event] = state.events
    step_s = (event.end - event.begin) / _ENERGY_STEPS
    readings = [home.read(event.begin + step_s * (n + 0.5), state) for n in range(_ENERGY_STEPS)]
    energy = dict.fromkeys((load.load_id for load in home.loads), 0.0)
    for reading in readings:
        for load in reading.loads:
            energy[load.load.load_id] += load.shed_kw * step_s / 3_600
    return energy


def _share_out(
    load_powers: list[tuple[HouseholdLoad, float]], request_kw: float, reduction_by_load: Mapping[str, float]
) -> tuple[LoadReading, ...]:
    """Divide the requested reduction: first each load's own, then the rest by priority."""
    own = {
        load.load_id: min(reduction_by_load.get(load.load_id, 0.0), _can_shed(load, kw))
        for load, kw in load_powers
    }
    left_kw = request_kw - sum(own.values())
    readings = []
    for load, power_kw in sorted(load_powers, key=lambda pair: (pair[0].priority, pair[0].load_id)):
        more_kw = max(0.0, min(left_kw, _can_shed(load, power_kw) - own[load.load_id]))
        left_kw -= more_kw
        shed_kw = round(own[load.load_id] + more_kw, 3)
        readings.append(LoadReading(load, round(power_kw - shed_kw, 3) + 0.0, shed_kw))
    return tuple(readings)


def _curtailed(
    powers: list[tuple[HouseholdLoad, float]], rest_kw: float, running: Sequence[ShedEvent]
) -> list[tuple[HouseholdLoad, float]]:
    """Loads that feed in no more than an event's limit of the panel allows."""
    limits = [event.export_limit_kw for event in running if event.export_limit_kw is not None]
    if not limits:
        return powers
    excess_kw = -limits[0] - rest_kw - _total(powers)
    curtailed = []
    for load, power_kw in powers:
        less_kw = max(0.0, min(excess_kw, -power_kw))
        excess_kw -= less_kw
        curtailed.append((load, round(power_kw + less_kw, 3)))
    return curtailed


def _raised(powers: list[tuple[HouseholdLoad, float]], more_kw: float) -> list[tuple[HouseholdLoad, float]]:
    """Loads that draw more, by priority, each up to its capacity; what generates stays as it is."""
    if more_kw <= 0:
        return powers
    raised = []
    for load, power_kw in sorted(powers, key=lambda pair: (pair[0].priority, pair[0].load_id)):
        room_kw = load.capacity_kw - max(0.0, power_kw) if load.enabled and load.kind != "solar" else 0.0
        added_kw = max(0.0, min(more_kw, room_kw))
        more_kw -= added_kw
        raised.append((load, round(power_kw + added_kw, 3)))
    return raised


def _can_shed(load: HouseholdLoad, power_kw: float) -> float:
    return max(0.0, power_kw) * load.sheddable if load.enabled else 0.0


@lru_cache(maxsize=100_000)
def _choose_loads(seed: int, ven_id: str, furnishing: str | None = None) -> tuple[HouseholdLoad, ...]:
    """Two to six loads, some of a kind rarer than others; every home has light and warm water at least."""
    if furnishing is not None:
        kinds = FURNISHINGS[furnishing]
        return tuple(_load((seed, ven_id, row[0]), row) for row in _CATALOGUE if row[0] in kinds)
    drawn_rows = [row for row in _CATALOGUE if draw(seed, ven_id, "has", row[0]) < row[2]]
    fewest = [row for row in _CATALOGUE if row[0] in {"lighting", "water_heater"}]
    chosen = drawn_rows[:_MOST_LOADS] if len(drawn_rows) > 1 else fewest
    return tuple(_load((seed, ven_id, row[0]), row) for row in chosen)


def _load(key: Key, row: tuple[str, str, float, float, float, float, float, int]) -> HouseholdLoad:
    kind, name, _, smallest, largest, sheddable, returning, priority = row
    capacity = round(between(smallest, largest, *key, "capacity"), 1)
    load_id = f"{kind.split('_')[0]}1"
    return HouseholdLoad(load_id, kind, name, capacity, capacity, sheddable, returning, priority, key)
