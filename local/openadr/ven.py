"""A simulated OpenADR VEN: it enrols, polls for events, follows them, and reports."""

from dataclasses import dataclass
from urllib.parse import urlencode

import structlog

from local.fleet.control.responses import CommandContext, respond
from local.fleet.homes.behaviour import ResponseBehaviour
from local.fleet.homes.control_state import INITIAL_STATE, ControlState
from local.fleet.homes.household import HouseholdLoad
from local.fleet.telemetry.reports import Reporter
from local.openadr.client import VtnClient, VtnError
from local.openadr.events import power_command, requested_payloads, wants_reports_of
from local.openadr.reports import MeteredInterval, metered, report
from schemas.openadr import OpenAdrEvent, OpenAdrProgram, OpenAdrReport, OpenAdrResource, OpenAdrVen

MOST_INTERVALS = 300
"""Most intervals of a report."""

LONGEST_GAP_S = 900.0
"""Intervals older than this, in a report that is late, are not sent afterwards."""

_HOUR_S = 3_600
_INSTANT_S = 0.001


@dataclass(frozen=True)
class VenSettings:
    """Seconds between polls, hours of the past to report at first, and how homes respond to events."""

    poll_s: float
    backfill_hours: float
    behaviour: ResponseBehaviour


class SimulatedVen:
    """One home with a client of its own. Time is Unix seconds; after a failure `act` resumes where it was.

    `past` makes the intervals of the past, `live` those from then on; an interval begins at a device time.
    """

    def __init__(self, live: Reporter, past: Reporter, vtn: VtnClient, settings: VenSettings) -> None:
        self.home = live.home
        self.state: ControlState = INITIAL_STATE
        self._live = live
        self._past = past
        self._is_past = settings.backfill_hours > 0
        self._vtn = vtn
        self._settings = settings
        self._log = structlog.get_logger().bind(ven_id=self.home.ven_id)
        self._ven: OpenAdrVen | None = None
        self._events: dict[str, OpenAdrEvent] = {}
        self._programs: dict[str, OpenAdrProgram] = {}
        self._opted_out: set[str] = set()
        self._poll_at = 0.0
        self._reported_until = 0.0

    def act(self, now: float) -> float:
        """Do what is due; returns when to act again.

        Raises:
            VtnError: the VTN refuses what it cannot do without.
            TryLaterError: the VTN is busy or away.
        """
        if self._ven is None:
            self._ven = self._join(now)
        if not self._poll_at:  # events request reports
            self._poll(now)
        self._report_due(now)
        if now >= self._poll_at:  # after the report: a change is of intervals to come
            self._poll(now)
        return min(self._poll_at, self._next_report_at)

    def _report_due(self, now: float) -> None:
        if now >= self._next_report_at:
            self._report(now)
        elif self._is_past:  # and all of it is reported
            self._is_past = False
            self._reported_until = self._live.next_after(self._reported_until - _INSTANT_S)

    @property
    def _meter(self) -> Reporter:
        return self._past if self._is_past else self._live

    @property
    def _next_report_at(self) -> float:
        return self._meter.next_after(self._reported_until)

    @property
    def _interval_s(self) -> float:
        return self._meter.interval_s()

    def _join(self, now: float) -> OpenAdrVen:
        """Enrol the VEN, unless the utility has enrolled it, and its loads as resources."""
        enrolled = self._vtn.read("/vens", list[OpenAdrVen])
        ven = enrolled[0] if enrolled else self._enrol()
        query = urlencode({"venID": ven.id})
        names = {each.resource_name for each in self._vtn.read(f"/resources?{query}", list[OpenAdrResource])}
        for load in self.home.loads:
            if load.load_id not in names:
                self._vtn.write("POST", "/resources", _resource(ven.id, load), OpenAdrResource)
        if self._is_past and self._vtn.read("/reports?limit=1", list[OpenAdrReport]):
            self._is_past = False  # it was reported when the VEN joined first
        past_s = self._settings.backfill_hours * _HOUR_S if self._is_past else 0.0
        self._reported_until = self._meter.next_after(now - max(past_s, self._interval_s))
        return ven

    def _enrol(self) -> OpenAdrVen:
        body = {"objectType": "VEN_VEN_REQUEST", "venName": self.home.ven_id}
        return self._vtn.write("POST", "/vens", body, OpenAdrVen)

    def _poll(self, now: float) -> None:
        """Read the events that are for this VEN, and follow those that are new, changed or gone."""
        events = {
            event.id: event
            for path in self._event_paths()
            for event in self._vtn.read(path, list[OpenAdrEvent])
        }
        for event in events.values():
            self._read_program(event.program_id)
            if self._events.get(event.id) != event:
                self._follow(event, now)
        deleted = {each.id: each for each in self._events.values() if each.id not in events}
        for event in deleted.values():
            self._leave(event, now)
        unreported = {
            event_id: event
            for event_id, event in deleted.items()
            if _is_over(event, now) and wants_reports_of(event, self._reported_until, now)
        }
        self._events = unreported | events
        self._poll_at = now + self._settings.poll_s

    def _read_program(self, program_id: str) -> None:
        if program_id not in self._programs:
            try:
                self._programs[program_id] = self._vtn.read(f"/programs/{program_id}", OpenAdrProgram)
            except VtnError as error:  # it is for others; its event is not
                self._log.info("openadr_program_hidden", program_id=program_id, reason=str(error))

    def _event_paths(self) -> list[str]:
        """Events for everybody or with a part of this VEN; and events with the targets that it is granted."""
        active = ("active", "true")
        queries = [[active]]
        if targets := self._targets():
            queries.append([active, *(("targets", each) for each in targets)])
        return [f"/events?{urlencode(query)}" for query in queries]

    def _targets(self) -> list[str]:
        """What the utility grants the VEN and its resources, at any time."""
        of_vens = (each.targets or () for each in self._vtn.read("/vens", list[OpenAdrVen]))
        of_resources = (each.targets or () for each in self._vtn.read("/resources", list[OpenAdrResource]))
        return sorted({target for targets in (*of_vens, *of_resources) for target in targets})

    def _follow(self, event: OpenAdrEvent, now: float) -> None:
        """Take part in an event that requests power, or opt out of it."""
        flexibility_kw = sum(load.capability_kw for load in self._live.read(now, self.state).loads)
        data = power_command(self.home, event, flexibility_kw)
        if data is None:
            self._release(event.id, now)
            return
        self.state, result = respond("event", self._command(data, now))
        if result.word == "rejected":
            self._opted_out.add(event.id)
        self._log.info("openadr_event_followed", event_id=event.id, result=result.word)

    def _leave(self, event: OpenAdrEvent, now: float) -> None:
        """Leave a deleted event; one that is over ends by itself."""
        self._opted_out.discard(event.id)
        if not _is_over(event, now):
            self._release(event.id, now)

    def _release(self, event_id: str, now: float) -> None:
        if any(each.event_id == event_id for each in self.state.events):
            self.state, _ = respond("restore", self._command({"event_id": event_id}, now))

    def _command(self, data: dict[str, object], now: float) -> CommandContext:
        return CommandContext(
            self.home, self.state, data, now, self._settings.behaviour, self._live.interval_s()
        )

    def _report(self, now: float) -> None:
        """Report the intervals that have ended, to each event that requests reports of their time.

        All events get the same payloads: a time has one set of values, and what is sent twice is a duplicate.
        """
        if not self._is_past:
            oldest = self._live.next_after(now - LONGEST_GAP_S)
            self._reported_until = max(self._reported_until, oldest)
        starts = self._starts(now)
        end = self._meter.next_after(starts[-1])
        requested = self._requested(starts[0], end)
        intervals = [self._metered(start) for start in starts]
        payload_types = frozenset[str]().union(*requested.values())
        for event_id in requested:
            self._send(event_id, report(event_id, self.home.ven_id, payload_types, intervals))
        self._reported_until = end

    def _starts(self, now: float) -> list[float]:
        starts = [self._reported_until]
        while len(starts) < MOST_INTERVALS:
            following = self._meter.next_after(starts[-1])
            if self._meter.next_after(following) > now:
                break
            starts.append(following)
        return starts

    def _requested(self, begin: float, end: float) -> dict[str, frozenset[str]]:
        """Payload types by the events that request reports of a time."""
        requesting = (event for event in self._events.values() if wants_reports_of(event, begin, end))
        payloads = {
            event.id: requested_payloads(event, self._programs.get(event.program_id)) for event in requesting
        }
        return {event_id: types for event_id, types in payloads.items() if types}

    def _metered(self, start: float) -> MeteredInterval:
        return metered(self._meter, self.state, start, self._interval_s, has_opted_out=bool(self._opted_out))

    def _send(self, event_id: str, body: dict[str, object]) -> None:
        """Report to one event; a refusal does not stop reports to others."""
        try:
            self._vtn.write("POST", "/reports", body, OpenAdrReport)
        except VtnError as error:
            self._log.warning("openadr_report_refused", event_id=event_id, reason=str(error))


def _resource(ven_id: str, load: HouseholdLoad) -> dict[str, object]:
    attributes = {"MAX_POWER_CONSUMPTION": load.capacity_kw, "DESCRIPTION": load.name}
    return {
        "objectType": "VEN_RESOURCE_REQUEST",
        "venID": ven_id,
        "resourceName": load.load_id,
        "attributes": [{"type": kind, "values": [value]} for kind, value in attributes.items()],
    }


def _is_over(event: OpenAdrEvent, now: float) -> bool:
    return not wants_reports_of(event, now, float("inf"))
