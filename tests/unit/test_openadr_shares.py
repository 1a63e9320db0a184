"""The client of VENs sees its own part of what an event asks for."""

from typing import Any

import pytest

from schemas.openadr_shares import Share, with_own_share


def event(*payloads: tuple[str, Any]) -> dict[str, Any]:
    """An interval for each payload."""
    return {
        "id": "e",
        "intervals": [
            {"id": number, "payloads": [{"type": kind, "values": [value]}]}
            for number, (kind, value) in enumerate(payloads)
        ],
    }


def shown(share: Share | None, *payloads: tuple[str, Any]) -> list[list[tuple[str, Any]]]:
    intervals = with_own_share(event(*payloads), share)["intervals"]
    return [[(each["type"], *each["values"]) for each in interval["payloads"]] for interval in intervals]


def test_its_part_of_each_interval() -> None:
    quarter = Share(2.5, 10.0, None)
    asked = [("DISPATCH_SETPOINT_RELATIVE", -10), ("DISPATCH_SETPOINT_RELATIVE", -4.0), ("PRICE", 3)]
    own = [[("DISPATCH_SETPOINT_RELATIVE", -2.5)], [("DISPATCH_SETPOINT_RELATIVE", -1.0)], [("PRICE", 3)]]
    assert shown(quarter, *asked) == own
    assert shown(Share(0.0, 10.0, None), asked[0]) == [[("DISPATCH_SETPOINT_RELATIVE", 0)]]


@pytest.mark.parametrize("share", [Share(0.0, None, None), Share(1.0, 0.0, None)])
def test_before_it_is_shared_out_it_asks_for_nothing(share: Share) -> None:
    """A VEN that saw the request of all would do the whole."""
    assert shown(share, ("DISPATCH_SETPOINT_RELATIVE", -10)) == [[("DISPATCH_SETPOINT_RELATIVE", 0)]]


def test_before_it_is_shared_out_a_level_has_no_power() -> None:
    assert shown(Share(0.0, None, 30.0), ("SIMPLE", 2)) == [[("SIMPLE", 2)]]


def test_what_does_not_ask_for_power_is_as_it_was_sent() -> None:
    assert shown(None, ("DISPATCH_SETPOINT_RELATIVE", -10)) == [[("DISPATCH_SETPOINT_RELATIVE", -10)]]


def test_a_level_stands_beside_its_power() -> None:
    share = Share(2.0, 20.0, 30.0)
    own = [
        [("SIMPLE", 2), ("DISPATCH_SETPOINT_RELATIVE", -2.0)],
        [("SIMPLE", 0), ("DISPATCH_SETPOINT_RELATIVE", 0.0)],
    ]
    assert shown(share, ("SIMPLE", 2), ("SIMPLE", 0)) == own


def test_what_the_utility_sent_is_not_changed() -> None:
    sent = event(("DISPATCH_SETPOINT_RELATIVE", -10), ("SIMPLE", 1))
    with_own_share(sent, Share(1.0, 10.0, 3.0))
    assert sent == event(("DISPATCH_SETPOINT_RELATIVE", -10), ("SIMPLE", 1))
