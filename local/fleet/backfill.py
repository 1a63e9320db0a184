"""The backfill: past messages of a fleet, up to now."""

import heapq
from collections.abc import Iterator
from dataclasses import replace

from local.fleet.telemetry.messages import Message
from local.fleet.telemetry.reports import FleetSettings, Reporter, fleet

COARSEST_S = 60.0


def backfill_step_s(interval_s: float) -> float:
    """Seconds between reports of the past: a minute is dense enough for a chart."""
    return max(COARSEST_S, interval_s)


def backfill_length(vens: int, hours: float, interval_s: float) -> int:
    """About how many messages: the reports, and, from seven VENs in ten, a description with every sixth."""
    return round(vens * hours * 3_600 / backfill_step_s(interval_s) * (1 + 0.7 / 6))


def backfill(seed: int, vens: int, hours: float, settings: FleetSettings, now: float) -> Iterator[Message]:
    """The messages of the last `hours`, up to `now` (Unix seconds), in the order of their arrival.

    Messages that would arrive after `now` come at the end: none is left to the live fleet.
    """
    begin = now - hours * 3_600
    queue: list[tuple[float, int, Message]] = []
    number = 0
    sparse = replace(settings, interval_s=backfill_step_s(settings.interval_s))
    for reporter, ts in _reports(fleet(seed, vens, sparse), begin, now):
        is_first = reporter.next_after(begin) == ts
        for arrival in reporter.arrivals(reporter.read(ts), describe=is_first):
            number += 1  # breaks ties: messages have no order
            heapq.heappush(queue, (arrival.at, number, arrival.message))
        while queue and queue[0][0] <= ts:
            yield heapq.heappop(queue)[2]
    while queue:
        yield heapq.heappop(queue)[2]


def _reports(reporters: list[Reporter], begin: float, end: float) -> Iterator[tuple[Reporter, float]]:
    """Each reporter and device time, after `begin` and up to `end`, in the order of device time."""
    due = [(reporter.next_after(begin), number) for number, reporter in enumerate(reporters)]
    heapq.heapify(due)
    while due and due[0][0] <= end:
        ts, number = due[0]
        yield reporters[number], ts
        heapq.heapreplace(due, (reporters[number].next_after(ts), number))
