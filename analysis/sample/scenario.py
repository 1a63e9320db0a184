"""The scenario of the sample: event, clocks, network failures. All times are UTC, the zone of the homes."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from msgspec import Struct

from local.fleet.homes.behaviour import ResponseBehaviour
from local.fleet.homes.household import Household
from local.fleet.homes.randomness import draw
from local.fleet.homes.weather import HeatWave
from local.fleet.telemetry.reports import FleetSettings
from schemas.api.events import EventCreate

SEED, VENS, INTERVAL_S = 11, 36, 300.0
BEGIN = datetime(2026, 7, 2, tzinfo=UTC)
END = datetime(2026, 7, 17, tzinfo=UTC)
DAY = timedelta(days=1)
EVENT_DAY = END - DAY
"""A Thursday, with ten weekdays before it."""

EVENT = EventCreate(
    id="evt-2026-07-16",
    start_time="2026-07-16T17:00:00Z",
    end_time="2026-07-16T19:00:00Z",
    requested_reduction_kw=25.0,
    lead_time_s=3_600,
)
CREATED_AT = EVENT_DAY + timedelta(hours=9)


@dataclass(frozen=True)
class FixedDelayBehaviour(ResponseBehaviour):
    """Delays of answers do not depend on a command's id, which is random, so that each load is the same."""

    def answer_delays_s(self, home: Household, correlation_id: str) -> list[float]:  # noqa: ARG002
        return super().answer_delays_s(home, "sample")


BEHAVIOUR = FixedDelayBehaviour(opt_out=0.12, mute=0.06)
HEAT_WAVE = HeatWave(BEGIN.timestamp() - 8 * 86_400, END.timestamp(), degrees=10.0)
FLEET = FleetSettings(INTERVAL_S, BEHAVIOUR, heat_wave=HEAT_WAVE)


class Clock(Struct, frozen=True):
    """A device's clock: ahead by `ahead_s` at the beginning, and by `gains_s` more each day."""

    ahead_s: float = 0.0
    gains_s: float = 0.0

    def true_time(self, ts: float) -> float:
        """When it shows `ts`, Unix seconds."""
        days = (ts - BEGIN.timestamp()) / DAY.total_seconds()
        return ts - self.ahead_s - self.gains_s * days


RIGHT = Clock()
CLOCKS = {
    "ven-0005": Clock(gains_s=26.0),
    "ven-0012": Clock(gains_s=-15.0),
    "ven-0023": Clock(ahead_s=-90.0),
}


class Silence(Struct, frozen=True):
    """A VEN without a network: what it measured is sent afterwards, if it `remembers`, else lost."""

    begin: datetime
    end: datetime
    remembers: bool

    def holds(self, at: float) -> bool:
        return self.begin.timestamp() <= at < self.end.timestamp()


SILENCES = {
    "ven-0009": Silence(
        BEGIN + timedelta(days=6, hours=13), BEGIN + timedelta(days=7, hours=4), remembers=False
    ),
    "ven-0017": Silence(
        BEGIN + timedelta(days=9, hours=10), BEGIN + timedelta(days=9, hours=16), remembers=True
    ),
    "ven-0028": Silence(BEGIN + timedelta(days=4), BEGIN + timedelta(days=5, hours=9), remembers=False),
}
REPEATS = {"ven-0020": 0.15, "ven-0031": 0.05}
"""Shares of the reports that these VENs send twice: their network loses acknowledgements."""


def arrives_at(home: Household, at: float) -> list[float]:
    """When the broker gets a message that would arrive at `at`: never, once, or twice."""
    silence = SILENCES.get(home.ven_id)
    if silence is not None and silence.holds(at):
        return [silence.end.timestamp() + draw(home.ven_id, "held", at) * 20] if silence.remembers else []
    is_repeated = draw(home.ven_id, "repeated", at) < REPEATS.get(home.ven_id, 0.0)
    return [at, at + 5 + draw(home.ven_id, "again", at)] if is_repeated else [at]
