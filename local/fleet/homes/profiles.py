"""The natural power of each type of load, without a reduction: a share of its capacity, -1 to 1."""

import math
from collections.abc import Callable
from functools import lru_cache

from local.fleet.homes.randomness import draw, drift, trait
from local.fleet.homes.weather import DAY_S, Weather

Key = tuple[int, str, str]
"""Seed, VEN, load."""

Profile = Callable[[Key, float, Weather], float]
"""(key, Unix seconds, weather) -> share of the capacity."""

_TAPER_S = 1_200  # the last minutes of charging a car
_LOWEST_SOC = 0.15
_BATTERY_HOURS = 2.5  # a battery of 5 kW holds 12.5 kWh


def living(key: Key, ts: float) -> float:
    """Light, kitchen, screens: a small night, a morning peak, a broad evening. Between 0.1 and 1."""
    hour = ts % DAY_S / 3_600
    lag = trait(-0.7, 0.7, *key, "lag")
    peaks = 0.45 * _peak(hour, 7.2 + lag, 1.0) + 0.7 * _peak(hour, 20 + lag, 2.2)
    return min(1.0, 0.1 + peaks * (0.6 + 0.4 * drift(ts / 900, *key)) + 0.12 * drift(ts / 60, *key, "kettle"))


def battery_soc(key: Key, ts: float) -> float:
    """State of charge, 0 to 1: filled from 9:30 to 14:30, emptied from 17:00 to 22:00."""
    hour = ts % DAY_S / 3_600
    top = trait(0.7, 0.98, *key, "top", math.floor(ts / DAY_S))
    filled = min(1.0, max(0.0, (hour - 9.5) / 5))
    emptied = min(1.0, max(0.0, (hour - 17) / 5))
    return _LOWEST_SOC + (top - _LOWEST_SOC) * (filled - emptied)


def _lighting(key: Key, ts: float, _: Weather) -> float:
    return living(key, ts)


def _heat_pump(key: Key, ts: float, weather: Weather) -> float:
    """It cycles: the further the weather is from 20 degrees, the larger its part of each cycle."""
    duty = min(0.92, 0.08 + abs(weather.temperature_c - 20) / 24)
    cycle_s = trait(1_200, 2_400, *key, "cycle")
    if (ts / cycle_s + trait(0, 1, *key, "phase")) % 1 >= duty:
        return 0.02
    return 0.75 + 0.2 * drift(ts / 120, *key)


def _car(key: Key, ts: float, _: Weather) -> float:
    """Charged in the evening or at night, on most days."""
    day = math.floor(ts / DAY_S)
    for night in (day, day - 1):  # a session may last past midnight
        begin, end = _session(key, night)
        if begin <= ts < end:
            return 0.97 if end - ts > _TAPER_S else 0.45
    return 0.0


@lru_cache(maxsize=100_000)
def _session(key: Key, day: int) -> tuple[float, float]:
    """When a car begins and ends to charge, Unix seconds; the same twice when it stays away."""
    begin = day * DAY_S + 3_600 * trait(16.5, 22.5, *key, "plug", day)
    return begin, begin + 3_600 * trait(1.2, 6, *key, "need", day) * (draw(*key, "home", day) < 0.8)  # noqa: PLR2004


def _solar(key: Key, ts: float, weather: Weather) -> float:
    shading = 0.85 + 0.1 * drift(ts / 300, *key)
    return -weather.light * shading


def _battery(key: Key, ts: float, _: Weather) -> float:
    """The derivative of its state of charge, without losses."""
    before, after = battery_soc(key, ts - 30), battery_soc(key, ts + 30)
    across_midnight = ts % DAY_S < 30 or ts % DAY_S >= DAY_S - 30  # noqa: PLR2004 - another day, another top
    return 0.0 if across_midnight else (after - before) * 60 * _BATTERY_HOURS


def _home_battery(key: Key, ts: float, _: Weather) -> float:
    """Charged from 10:00 to 15:00, as the sun would; feeds in at a steady power from 17:00 to 21:00."""
    hour = ts % DAY_S / 3_600
    if 17 <= hour < 21:  # noqa: PLR2004
        return -0.75
    return 0.6 + 0.3 * drift(ts / 3_600, *key) if 10 <= hour < 15 else 0.0  # noqa: PLR2004


def _v2g(key: Key, ts: float, _: Weather) -> float:
    """A car that feeds in from 17:30 to 20:00 on the days on which it is at home, and is charged at night."""
    hour, day = ts % DAY_S / 3_600, math.floor(ts / DAY_S)
    if 17.5 <= hour < 20:  # noqa: PLR2004
        return -0.6 if draw(*key, "home", day) < 0.8 else 0.0  # noqa: PLR2004
    return 0.5 if hour < 4 else 0.0  # noqa: PLR2004


def _water_heater(key: Key, ts: float, _: Weather) -> float:
    """Before the morning and after the evening; in between it keeps warm for a few minutes."""
    hour = ts % DAY_S / 3_600
    lag = trait(-0.8, 0.8, *key, "lag", math.floor(ts / DAY_S))
    heats = any(begin <= hour - lag < end for begin, end in ((5.5, 6.8), (16.8, 18.2), (21, 22)))
    keeps_warm = (ts / 5_400 + trait(0, 1, *key, "phase")) % 1 < 0.08  # noqa: PLR2004
    return 0.98 if heats or keeps_warm else 0.0


def _pool_heater(key: Key, ts: float, _: Weather) -> float:
    hour = ts % DAY_S / 3_600
    begin = trait(9, 12, *key, "begin")
    return 0.9 if begin <= hour < begin + 7 and (ts / 2_700) % 1 < 0.7 else 0.0  # noqa: PLR2004


def _peak(hour: float, at: float, width: float) -> float:
    """A bell over the hours of a day, 1 at its top; midnight does not cut it."""
    distance = min(abs(hour - at), 24 - abs(hour - at))
    return math.exp(-0.5 * (distance / width) ** 2)


PROFILES: dict[str, Profile] = {
    "lighting": _lighting,
    "hvac": _heat_pump,
    "ev": _car,
    "solar": _solar,
    "battery": _battery,
    "home_battery": _home_battery,
    "v2g": _v2g,
    "water_heater": _water_heater,
    "pool_heater": _pool_heater,
}
