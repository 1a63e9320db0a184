"""Converts an OpenADR event to a command of the contract, and to the reports that it requests. Pure."""

from collections.abc import Sequence

from local.fleet.homes.household import Household
from local.fleet.homes.randomness import between
from local.openadr.reports import PAYLOAD_UNITS
from schemas.openadr import OpenAdrEvent, OpenAdrProgram
from schemas.times.instants import BEGINNING, parse_iso
from serving.openadr.event_times import event_end, event_start
from serving.openadr.events.power import NotSharedError, asked_power


def power_command(home: Household, event: OpenAdrEvent, flexibility_kw: float) -> dict[str, object] | None:
    """Return the data of an `event` command; None if the event requests no power from this home.

    Args:
        home: draws its delay where the event randomizes its start.
        event: as the home's client reads it: with its own kW.
        flexibility_kw: what the home can shed, which levels of `SIMPLE` are shares of.
    """
    made_at = parse_iso(event.created_date_time)
    try:
        power = asked_power(event, made_at, BEGINNING, lambda: flexibility_kw)
    except NotSharedError:
        return None
    delay_s = between(0, power.randomize_start_s, home.seed, home.ven_id, event.id, "spread")
    start_ts = power.start.timestamp() + delay_s
    data: dict[str, object] = {
        "event_id": event.id,
        "start_ts": start_ts,
        "end_ts": power.end.timestamp(),
        "requestedReductionKw": power.requested_kw,
        "direction": power.direction,
        "intervals": _intervals(power.intervals or (), power.start.timestamp()),
    }
    limits = {"importLimitKw": power.import_limit_kw, "exportLimitKw": power.export_limit_kw}
    return data | {name: limit_kw for name, limit_kw in limits.items() if limit_kw is not None}


def _intervals(steps: Sequence[tuple[float, float]], start_ts: float) -> list[dict[str, float]]:
    intervals = []
    for duration_s, kw in steps:
        intervals.append({"start_ts": start_ts, "duration_s": duration_s, "targetKw": kw})
        start_ts += duration_s
    return intervals


def requested_payloads(event: OpenAdrEvent, program: OpenAdrProgram | None) -> frozenset[str]:
    """Return the payload types that an event requests; without any, those of its program.

    Types that a home cannot measure are left out.
    """
    described = (program and program.payload_descriptors) or ()
    requested = {each.payload_type for each in event.report_descriptors or ()} or {
        each.payload_type for each in described if each.object_type == "REPORT_PAYLOAD_DESCRIPTOR"
    }
    return frozenset(requested & PAYLOAD_UNITS.keys())


def wants_reports_of(event: OpenAdrEvent, begin: float, end: float) -> bool:
    """Whether an event has a part of the time from `begin` to `end`, Unix seconds."""
    made_at = parse_iso(event.created_date_time)
    ends_at = event_end(event, made_at)
    is_over = ends_at is not None and ends_at.timestamp() <= begin
    return not is_over and event_start(event, made_at).timestamp() < end
