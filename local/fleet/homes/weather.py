"""The weather over the fleet: one region at 45 degrees north, where the sun culminates at 12:00 UTC."""

import math
from dataclasses import dataclass
from functools import lru_cache

from local.fleet.homes.randomness import drift

DAY_S = 86_400
_LATITUDE = math.radians(45)
_TILT = math.radians(23.44)
_THICKEST_CLOUD = 0.75  # how much of the light it takes


@dataclass(frozen=True)
class Weather:
    """Degrees Celsius outside, and light: 0 at night, near 1 under a clear summer noon."""

    temperature_c: float
    light: float


@dataclass(frozen=True)
class HeatWave:
    """From `begin` to `end`, Unix seconds, it grows hotter by `degrees`; and stays so."""

    begin: float
    end: float
    degrees: float

    def warm(self, weather: Weather, ts: float) -> Weather:
        share = min(1.0, max(0.0, (ts - self.begin) / (self.end - self.begin)))
        return Weather(weather.temperature_c + self.degrees * share, weather.light)


@lru_cache(maxsize=4_096)
def weather_at(seed: int, ts: float) -> Weather:
    """The weather at `ts`, Unix seconds."""
    year = math.tau * (ts / DAY_S / 365.25)
    hour_angle = math.tau * (ts % DAY_S / DAY_S - 0.5)
    cloud = _cloud(seed, ts)
    warmest = math.cos(hour_angle - math.tau * 3 / 24)  # at 15:00
    temperature = (
        11 - 9 * math.cos(year - 0.35) + 4 * warmest - 2 * cloud + 3 * drift(ts / 7_200, seed, "air")
    )
    return Weather(temperature, _sun_height(year, hour_angle) * (1 - _THICKEST_CLOUD * cloud))


def _sun_height(year: float, hour_angle: float) -> float:
    """Sine of the sun's elevation; 0 below the horizon."""
    declination = -_TILT * math.cos(year + math.tau * 10 / 365.25)
    height = math.sin(_LATITUDE) * math.sin(declination)
    height += math.cos(_LATITUDE) * math.cos(declination) * math.cos(hour_angle)
    return max(0.0, height)


def _cloud(seed: int, ts: float) -> float:
    """0 under a clear sky, 1 under a closed one: fair and dull days, and single clouds."""
    return min(1.0, max(0.0, drift(ts / DAY_S, seed, "sky") + 0.7 * drift(ts / 1_200, seed, "cloud") - 0.45))
