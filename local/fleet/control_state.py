"""The state that commands have put one VEN into. Immutable: each command makes a new one."""

from dataclasses import dataclass, replace
from typing import Any, Self

from local.fleet.events import ShedEvent


@dataclass(frozen=True)
class ControlState:
    """Events, the latest first; settings by load and for the VEN. Capacities and powers in kW."""

    events: tuple[ShedEvent, ...] = ()
    load_settings: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()
    report_interval_s: float | None = None
    target_power_kw: float | None = None

    def of_load(self, load_id: str) -> dict[str, Any]:
        """What was set of a load: some of `enabled`, `capacity_kw` and `priority`."""
        return dict(dict(self.load_settings).get(load_id, ()))

    def with_load(self, load_id: str, changes: dict[str, Any]) -> Self:
        """Set some of a load; None takes back what was set."""
        merged = {
            name: value for name, value in (self.of_load(load_id) | changes).items() if value is not None
        }
        others = {known: settings for known, settings in self.load_settings if known != load_id}
        return replace(self, load_settings=tuple((others | {load_id: tuple(merged.items())}).items()))

    def with_event(self, event: ShedEvent, now: float) -> Self:
        """Follow an event. One that is known and runs already goes on, with another end or request."""
        known = next((each for each in self.events if _is_same(each, event)), None)
        if known is not None and known.runs_at(now):
            event = replace(event, begin=known.begin, lag_s=known.lag_s, ramp_s=known.ramp_s)
        others = tuple(each for each in self.events if each is not known and _is_felt(each, now))
        return replace(self, events=(event, *others))

    def without_event(self, event_id: str | None, end: float) -> Self:
        """End one event at `end`, or all. What has not begun by then never does."""
        meant = (event_id is None or event.event_id == event_id for event in self.events)
        cut = (
            replace(event, end=min(event.end, end)) if is_meant else event
            for event, is_meant in zip(self.events, meant, strict=True)
        )
        return replace(self, events=tuple(event for event in cut if event.begin < event.end))

    def also(self, events: tuple[ShedEvent, ...]) -> Self:
        return replace(self, events=self.events + events) if events else self

    def only(self, event: ShedEvent) -> Self:
        """The same settings, and no event but this one."""
        return replace(self, events=(event,))


INITIAL_STATE = ControlState()


def _is_same(one: ShedEvent, other: ShedEvent) -> bool:
    return (one.event_id, one.load_id) == (other.event_id, other.load_id)


def _is_felt(event: ShedEvent, now: float) -> bool:
    return now < event.end + event.rebound_s
