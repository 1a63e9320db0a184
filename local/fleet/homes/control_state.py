"""The state of one VEN after commands. Immutable: each command makes a new one."""

from dataclasses import dataclass, replace
from typing import Any, Self

from local.fleet.homes.events import ShedEvent


@dataclass(frozen=True)
class ControlState:
    """Events, the latest first; settings by load and for the VEN. Capacities and powers in kW."""

    events: tuple[ShedEvent, ...] = ()
    load_settings: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...] = ()
    report_interval_s: float | None = None
    target_power_kw: float | None = None

    def of_load(self, load_id: str) -> dict[str, Any]:
        """Settings of a load: some of `enabled`, `capacity_kw` and `priority`."""
        return dict(dict(self.load_settings).get(load_id, ()))

    def with_load(self, load_id: str, changes: dict[str, Any]) -> Self:
        """Change settings of a load; None removes one."""
        merged = {
            name: value for name, value in (self.of_load(load_id) | changes).items() if value is not None
        }
        others = {other: settings for other, settings in self.load_settings if other != load_id}
        return replace(self, load_settings=tuple((others | {load_id: tuple(merged.items())}).items()))

    def with_event(self, event: ShedEvent, now: float) -> Self:
        """Add an event. One that runs already continues, with the new end and request."""
        existing = next((each for each in self.events if _is_same(each, event)), None)
        if existing is not None and existing.runs_at(now):
            event = replace(event, begin=existing.begin, lag_s=existing.lag_s, ramp_s=existing.ramp_s)
        others = tuple(each for each in self.events if each is not existing and _affects_power(each, now))
        return replace(self, events=(event, *others))

    def without_event(self, event_id: str | None, end: float) -> Self:
        """End one event, or all, at `end`. Events that have not begun by then are removed."""
        selected = (event_id is None or event.event_id == event_id for event in self.events)
        cut = (
            replace(event, end=min(event.end, end)) if is_selected else event
            for event, is_selected in zip(self.events, selected, strict=True)
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


def _affects_power(event: ShedEvent, now: float) -> bool:
    return now < event.end + event.rebound_s
