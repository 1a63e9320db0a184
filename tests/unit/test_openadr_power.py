"""What power events of OpenADR ask for, as an event of this service has it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.openadr import EventRequest
from serving.openadr.events.power import (
    AskedPower,
    NotSharedError,
    asked_power,
    asks_for_power,
    turned_priority,
)

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
FLEXIBILITY_KW = 90.0


def interval(kind: str, *values: Any, **period: str) -> dict[str, Any]:
    payloads = [{"type": kind, "values": list(values)}]
    return {"id": 0, "payloads": payloads, **({"intervalPeriod": period} if period else {})}


def relative(*kw: float) -> list[dict[str, Any]]:
    return [interval("DISPATCH_SETPOINT_RELATIVE", each) for each in kw]


def event(*intervals: dict[str, Any], **fields: Any) -> EventRequest:
    period = {"start": "2026-01-15T13:00:00Z", "duration": "PT1H"}
    return msgspec.convert(
        {"programID": "p", "intervalPeriod": period, "intervals": list(intervals), **fields}, EventRequest
    )


def asked(request: EventRequest, not_before: datetime = NOON) -> AskedPower:
    return asked_power(request, NOON, not_before, lambda: FLEXIBILITY_KW)


def hours(number: float) -> datetime:
    return NOON + timedelta(hours=number)


def test_less_and_more() -> None:
    less, more = asked(event(*relative(-50))), asked(event(*relative(50)))
    assert (less.direction, less.requested_kw, less.intervals) == ("reduce", 50, None)
    assert (less.start, less.end) == (hours(1), hours(2))
    assert (more.direction, more.requested_kw) == ("increase", 50)


@pytest.mark.parametrize(("level", "kw"), [(1, 30), (2, 60), (3, 90)])
def test_levels_are_parts_of_what_could_be_shed(level: int, kw: float) -> None:
    assert asked(event(interval("SIMPLE", level))).requested_kw == pytest.approx(kw)


def test_intervals_and_gaps() -> None:
    gap = interval("DISPATCH_SETPOINT_RELATIVE", -20, start="2026-01-15T15:00:00Z")
    request = asked(event(*relative(-10), gap))
    assert (request.start, request.end, request.requested_kw) == (hours(1), hours(4), 20)
    assert request.intervals == [(3600, 10), (3600, 0), (3600, 20)]


def test_an_event_is_repeated_or_cut_by_its_own_duration() -> None:
    looped = asked(event(*relative(-10, -20), duration="PT5H"))
    assert looped.intervals == [(3600, 10), (3600, 20), (3600, 10), (3600, 20), (3600, 10)]
    cut = asked(event(*relative(-10, -20), duration="PT90M"))
    assert cut.intervals == [(3600, 10), (1800, 20)]


def test_what_has_passed_is_left_out() -> None:
    late = asked(event(*relative(-10, -20, -30)), hours(2.5))
    assert (late.start, late.intervals) == (hours(2.5), [(1800, 20), (3600, 30)])


def test_at_once() -> None:
    period = {"start": "0001-01-01", "duration": "PT1H"}
    assert asked(event(*relative(-10), intervalPeriod=period)).start == NOON


def test_limits_and_a_random_start() -> None:
    period = {"start": "2026-01-15T13:00:00Z", "duration": "PT1H", "randomizeStart": "PT5M"}
    payloads = [
        {"type": "DISPATCH_SETPOINT_RELATIVE", "values": [-10]},
        {"type": "IMPORT_CAPACITY_LIMIT", "values": [7]},
    ]
    second = [payloads[0], {"type": "IMPORT_CAPACITY_LIMIT", "values": [5]}]
    both = [{"id": number, "payloads": each} for number, each in enumerate((payloads, second))]
    request = asked(event(*both, intervalPeriod=period))
    assert (request.import_limit_kw, request.export_limit_kw) == (5, None)
    assert request.randomize_start_s == 300


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (event(*relative(-10), duration="P9999Y"), "no end"),
        (event(*relative(-10), intervalPeriod={"start": "0001-01-01", "duration": "P9999Y"}), "no end"),
        (event(*relative(-10), intervalPeriod={"start": "2026-01-15T13:00:00Z"}), "no end"),
        (event(*relative(-10), intervalPeriod={"start": "0001-01-01", "duration": "PT0S"}), "no length"),
        (event(*relative(-10), intervalPeriod={"start": "2020-01-01", "duration": "PT1H"}), "over"),
        (event(*relative(-10, 10)), "less and for more"),
        (event(*relative(0)), "no change"),
        (event(interval("SIMPLE", 0)), "no change"),
        (event(interval("SIMPLE", 4)), "no level 4"),
        (event(interval("SIMPLE", 1.5)), "no level 1.5"),
        (event(*relative(-1e12)), "more than"),
        (event(*relative(-10), interval("SIMPLE", 1, start="2026-01-15T13:30:00Z")), "overlap"),
        (event(*relative(-10), duration="P1Y"), "more than 1000 intervals"),
        (
            event(
                *relative(-10),
                payloadDescriptors=[
                    {
                        "objectType": "EVENT_PAYLOAD_DESCRIPTOR",
                        "payloadType": "DISPATCH_SETPOINT_RELATIVE",
                        "units": "KWH",
                    }
                ],
            ),
            "KWH",
        ),
    ],
)
def test_what_cannot_be_shared(request_: EventRequest, reason: str) -> None:
    with pytest.raises(NotSharedError, match=reason):
        asked(request_)


def test_what_asks_for_no_power() -> None:
    for kind, value in (("PRICE", 0.3), ("SIMPLE", "high"), ("SIMPLE", True), ("CHARGE_STATE_SETPOINT", 0.5)):
        assert not asks_for_power(event(interval(kind, value)))
    assert not asks_for_power(event())
    assert asks_for_power(event(interval("PRICE", 0.3), *relative(1)))


@given(first=st.none() | st.integers(0, 2**31 - 1), second=st.none() | st.integers(0, 2**31 - 1))
def test_priorities_are_turned_round(first: int | None, second: int | None) -> None:
    assert 0 <= turned_priority(first) <= 100
    if first is not None and (second is None or first <= second):
        assert turned_priority(first) >= turned_priority(second)


@given(
    kw=st.lists(st.integers(-50, 0), min_size=1, max_size=6).filter(any),
    cut_min=st.integers(0, 59),
    loops=st.integers(1, 4),
)
def test_the_energy_asked_for_is_that_of_the_intervals(kw: list[int], cut_min: int, loops: int) -> None:
    """However it is repeated, and whatever of its first hour is cut off."""
    request = event(*relative(*kw), duration=f"PT{len(kw) * loops}H")
    power = asked(request, hours(1) + timedelta(minutes=cut_min))
    intervals = power.intervals or [((power.end - power.start).total_seconds(), power.requested_kw)]
    energy_kwh = sum(seconds * each for seconds, each in intervals) / 3600
    assert energy_kwh == pytest.approx(-sum(kw) * loops + kw[0] * cut_min / 60)
    assert sum(seconds for seconds, _ in intervals) == (power.end - power.start).total_seconds()
