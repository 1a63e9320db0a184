"""Adds an event's terms beyond start, end and kW to commands, and delays them. Pure. Powers in kW."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta

import msgspec
from msgspec import Struct

from jobs.transforms.events.lifecycle import OVER
from schemas.demand_response.commands import NewCommand
from schemas.devices.abilities import DIRECTION, EXPORT_LIMIT, IMPORT_LIMIT, INTERVALS

SAME_KW = 1e-6
RESTORE_AT_LEAST = timedelta(minutes=5)
"""How long a delayed `restore` is sent before it expires."""

Steps = tuple[tuple[datetime, float], ...]
"""The power that an event requests, by start time, in order."""


class CommandTerms(Struct, frozen=True):
    """An event as commands describe it; without `steps` it requests one power throughout."""

    event_id: str
    status: str
    start_time: datetime
    end_time: datetime
    direction: str = "reduce"
    steps: Steps = ()
    randomize_start_s: float = 0.0
    stagger_return_s: float = 0.0
    import_limit_kw: float | None = None
    export_limit_kw: float | None = None


class Flexibility(Struct, frozen=True):
    """The power that a VEN could give, and that all VENs in the event could."""

    of_ven_kw: float
    of_all_kw: float

    def share_kw(self, requested_kw: float) -> float:
        """Return the VEN's fair share of a request: all give the same fraction of what they can."""
        return self.of_ven_kw * min(1.0, requested_kw / self.of_all_kw) if self.of_all_kw else 0.0


def start_delay(event_id: str, ven_id: str, longest_s: float) -> timedelta:
    """Return how much later than the event a VEN starts: pseudo-random, constant for an event and a VEN."""
    return _spread(event_id, ven_id, "start", longest_s)


def return_delay(event_id: str, ven_id: str, longest_s: float) -> timedelta:
    """Return how much later than the event's end a VEN returns to normal, likewise."""
    return _spread(event_id, ven_id, "return", longest_s)


def _spread(event_id: str, ven_id: str, what: str, longest_s: float) -> timedelta:
    digest = hashlib.sha256(f"{event_id}\0{ven_id}\0{what}".encode()).digest()
    return timedelta(milliseconds=round(longest_s * 1_000 * int.from_bytes(digest[:8]) / 2**64))


def with_terms(
    command: NewCommand, terms: CommandTerms, understood: Collection[str], flexibility: Flexibility | None
) -> NewCommand:
    """Return a command with all terms of an event that the VEN understands.

    Args:
        command: a row of the outbox, whose data is not encoded yet.
        terms: of its event.
        understood: words of `understands`.
        flexibility: determines the share of each interval, for a VEN that understands intervals.
    """
    if command["op"] == "restore":
        return _returning(command, terms)
    if command["op"] == "shedLoad":
        return _load_later(command, terms)
    if command["op"] != "event":
        return command
    data = {**command["data"], **_optional(terms, understood)}
    if terms.steps and flexibility is not None and INTERVALS in understood:
        share_kw = msgspec.convert(data["requestedReductionKw"], float)
        data["intervals"] = _intervals(terms, flexibility, share_kw, command["created_at"])
    return _spread_out({**command, "data": data}, terms)


def _optional(terms: CommandTerms, understood: Collection[str]) -> dict[str, object]:
    direction = terms.direction if terms.direction != "reduce" else None
    values = {
        DIRECTION: direction,
        IMPORT_LIMIT: terms.import_limit_kw,
        EXPORT_LIMIT: terms.export_limit_kw,
    }
    return {key: value for key, value in values.items() if value is not None and key in understood}


def _intervals(
    terms: CommandTerms, flexibility: Flexibility, share_kw: float, now: datetime
) -> list[dict[str, float]]:
    """Return the steps that are not over: start, duration, and the VEN's share of each."""
    ends = [*(at for at, _ in terms.steps[1:]), terms.end_time]
    steps = [(at, end, kw) for (at, kw), end in zip(terms.steps, ends, strict=True) if max(at, now) < end]
    shares_kw = [share_kw, *(flexibility.share_kw(kw) for *_, kw in steps[1:])]
    return [
        {
            "start_ts": at.timestamp(),
            "duration_s": (min(end, terms.end_time) - at).total_seconds(),
            "targetKw": kw,
        }
        for (at, end, _), kw in zip(steps, shares_kw, strict=True)
        if at < terms.end_time
    ]


def _spread_out(command: NewCommand, terms: CommandTerms) -> NewCommand:
    """Delay start and end for the VEN; the command is sent as much later, for VENs that act on receipt."""
    if not terms.randomize_start_s and not terms.stagger_return_s:
        return command
    now, ven_id = command["created_at"], command["ven_id"]
    begin = terms.start_time + start_delay(terms.event_id, ven_id, terms.randomize_start_s)
    end = terms.end_time + return_delay(terms.event_id, ven_id, terms.stagger_return_s)
    wait = max(timedelta(0), begin - max(terms.start_time, now))
    times = {
        "start_ts": begin.timestamp(),
        "end_ts": end.timestamp(),
        "duration_s": max(1, round((end - max(begin, now)).total_seconds())),
    }
    return {
        **command,
        "data": {**command["data"], **times},
        "next_attempt_at": command["next_attempt_at"] + wait,
    }


def _load_later(command: NewCommand, terms: CommandTerms) -> NewCommand:
    """Delay a command to a single load, which sheds from receipt on, for as long as its VEN does.

    The remainder of `durationS` is counted from the creation of the command.
    """
    now, ven_id = command["created_at"], command["ven_id"]
    begin = terms.start_time + start_delay(terms.event_id, ven_id, terms.randomize_start_s)
    wait = max(timedelta(0), begin - max(terms.start_time, now))
    longer = return_delay(terms.event_id, ven_id, terms.stagger_return_s)
    duration_s = msgspec.convert(command["data"]["durationS"], int) + round(longer.total_seconds())
    return {
        **command,
        "data": {**command["data"], "durationS": duration_s},
        "next_attempt_at": command["next_attempt_at"] + wait,
    }


def _returning(command: NewCommand, terms: CommandTerms) -> NewCommand:
    """Return a `restore` at the end of an event, with the VEN's delay.

    It is sent at once to a VEN that is not requested any more, and to one that has not started when the event
    is cancelled or stopped: it would start meanwhile.
    """
    starts_at = terms.start_time + start_delay(terms.event_id, command["ven_id"], terms.randomize_start_s)
    has_started = command["created_at"] >= starts_at
    if terms.status not in OVER or not terms.stagger_return_s or not has_started:
        return command
    delay = return_delay(terms.event_id, command["ven_id"], terms.stagger_return_s)
    at = command["next_attempt_at"] + delay
    expires_at = max(command["expires_at"], at + RESTORE_AT_LEAST)
    return {**command, "next_attempt_at": at, "expires_at": expires_at}


def is_announced(intervals: Sequence[Mapping[str, float]] | None, share_kw: float, now: datetime) -> bool:
    """Return whether a VEN's last command already contains its current share."""
    begun = [each["targetKw"] for each in intervals or () if each["start_ts"] <= now.timestamp() + 1e-3]
    return bool(begun) and abs(begun[-1] - share_kw) <= SAME_KW
