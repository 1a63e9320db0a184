"""How homes and devices respond to commands: delays, opt-outs, and VENs that never acknowledge."""

from dataclasses import dataclass, replace

from local.fleet.homes.events import ShedEvent
from local.fleet.homes.household import Household
from local.fleet.homes.randomness import between, draw

DOUBLED = 0.03
"""Share of the acknowledgements that arrive twice."""
_SLOW = 0.05
_LEAVES = (0.3, 0.7)
_MOST_OF_AN_EVENT = 0.1  # that a home takes to begin, and again to get down


@dataclass(frozen=True)
class ResponseBehaviour:
    """Shares, 0 to 1: of the homes that opt out of an event, and of the VENs that never answer a command.

    Half of those that opt out reject the event at once, the other half leave in the middle. Half of those
    that never answer do not receive commands either; the other half execute them without an answer.
    """

    opt_out: float = 0.1
    mute: float = 0.02

    def opts_out(self, home: Household, event_id: str | None) -> bool:
        return draw(home.seed, home.ven_id, "opt-out", event_id or "") < self.opt_out / 2

    def stay(self, home: Household, event: ShedEvent) -> float:
        """The fraction of an event in which a home takes part, 0 to 1."""
        key = (home.seed, home.ven_id, "opt-out", event.event_id or "")
        return between(*_LEAVES, *key, "after") if draw(*key) < self.opt_out else 1.0

    def is_mute(self, home: Household) -> bool:
        return draw(home.seed, home.ven_id, "mute") < self.mute

    def is_deaf(self, home: Household) -> bool:
        return draw(home.seed, home.ven_id, "mute") < self.mute / 2

    def answer_delays_s(self, home: Household, correlation_id: str) -> list[float]:
        """Seconds from a command to each arrival of its acknowledgement: none, one, or two."""
        if self.is_mute(home):
            return []
        key = (home.seed, home.ven_id, "answer", correlation_id)
        is_slow = draw(*key, "slow") < _SLOW
        delay_s = between(3, 12, *key) if is_slow else between(0.2, 2, *key)
        return (
            [delay_s, delay_s + between(0.1, 2, *key, "again")]
            if draw(*key, "twice") < DOUBLED
            else [delay_s]
        )


def paced(home: Household, event: ShedEvent) -> ShedEvent:
    """The event with this home's delay, and the ramp over which its loads switch off; a single load has no
    ramp.
    """
    key = (home.seed, home.ven_id, event.event_id or "")
    if event.load_id is not None:
        return replace(event, lag_s=between(0.2, 1, *key, "lag"))
    longest_s = _MOST_OF_AN_EVENT * (event.end - event.begin)
    return replace(
        event,
        lag_s=min(between(0.5, 8, *key, "lag"), longest_s),
        ramp_s=min(between(5, 40, *key, "ramp"), longest_s),
    )


def release_s(home: Household, event_id: str | None) -> float:
    """Seconds from a `restore` until the loads are back."""
    return between(0.3, 2, home.seed, home.ven_id, "release", event_id or "")
