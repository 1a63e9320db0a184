"""What VENs make of an event, seen from what is known of each."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from jobs.summaries.models import FollowedPartFrame
from jobs.transforms.events.participation import followed

START = datetime(2026, 1, 15, 17, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


NOW = at(10)
PART = {
    "ven_id": "a",
    "event_id": "e",
    "status": "notified",
    "available_kw": 4.0,
    "requested_reduction_kw": 2.0,
    "command_id": "c",
    "notified_at": at(-5),
    "command_status": "sent",
    "is_away": False,
    "is_unwanted": False,
    "has_opt_out": False,
    "event_status": "active",
    "start_time": START,
    "end_time": at(60),
}
ACCEPTED = {"command_status": "acknowledged", "answered_at": at(1)}
NAMED = {"status": "started", "started_at": at(2), "named_at": at(2)}
SILENT = NAMED | {"reported_at": at(9), "asked_again_at": at(8)}
OUT = NAMED | {"status": "opted_out", "opted_out_at": at(5), "reported_at": at(6)}
RELEASED = {"status": "planned", "requested_reduction_kw": 0.0, "command_id": None, "released_at": NOW}
UNWANTED = {"is_away": True, "is_unwanted": True}


def after(**known: Any) -> dict[str, Any] | None:
    """What changes; None if nothing does."""
    before = PART | known
    frame = FollowedPartFrame.validate(pl.DataFrame([before], schema=FollowedPartFrame.types()))
    moved = FollowedPartFrame.validate(followed(frame, NOW)).to_dicts()
    assert followed(followed(frame, NOW), NOW).is_empty()
    if not moved:
        return None
    return {name: said for name, said in moved[0].items() if said != before.get(name)}


CASES: list[tuple[dict[str, Any], dict[str, Any] | None]] = [
    ({}, None),
    ({"command_status": None}, None),
    ({"command_status": "failed"}, None),
    (ACCEPTED, {"status": "acknowledged", "acknowledged_at": at(1)}),
    (ACCEPTED | {"status": "acknowledged", "acknowledged_at": at(0)}, None),
    ({"command_status": "rejected"}, {"status": "opted_out", "opted_out_at": NOW}),
    (NAMED | {"command_status": "rejected"}, {"status": "opted_out", "opted_out_at": NOW}),
    # It begins.
    (
        {"reported_at": at(3), "reported_event_id": "e"},
        {"status": "started", "started_at": at(3), "named_at": at(3)},
    ),
    (
        ACCEPTED | {"reported_at": at(3), "shed_power_kw": 0.1},
        {"status": "started", "started_at": at(3), "acknowledged_at": at(1)},
    ),
    ({"reported_at": at(12), "shed_power_kw": 0.1}, {"status": "started", "started_at": NOW}),
    ({"reported_at": at(-1), "shed_power_kw": 0.1}, None),
    ({"reported_at": at(3), "shed_power_kw": 0.1, "reported_event_id": "other"}, None),
    ({"reported_at": at(3), "shed_power_kw": 0.0}, None),
    ({"reported_at": at(3), "reported_event_id": "e", "event_status": "scheduled"}, None),
    ({"command_status": "rejected", "answered_at": at(7)}, {"status": "opted_out", "opted_out_at": at(7)}),
    # It is silent about the event: it may have rebooted, and is asked again.
    (NAMED | {"reported_at": at(3)}, {"asked_again_at": NOW}),
    (NAMED | {"reported_at": at(3), "reported_event_id": "o"}, {"asked_again_at": NOW}),
    (NAMED | {"reported_at": at(3), "end_time": at(10.5)}, None),
    (SILENT, {"status": "opted_out", "opted_out_at": NOW, "asked_again_at": None}),
    (SILENT | {"asked_again_at": at(9.1)}, None),
    (SILENT | {"command_status": "pending"}, None),
    (
        SILENT | {"command_status": "expired"},
        {"status": "opted_out", "opted_out_at": NOW, "asked_again_at": None},
    ),
    (
        SILENT | {"command_status": "rejected", "answered_at": at(8.5)},
        {"status": "opted_out", "opted_out_at": at(8.5), "asked_again_at": None},
    ),
    (
        SILENT | {"command_status": "acknowledged", "answered_at": at(8.5)},
        {"named_at": None, "asked_again_at": None, "acknowledged_at": at(8.5)},
    ),
    (SILENT | {"reported_event_id": "e"}, {"asked_again_at": None}),
    # It returns.
    (OUT, None),
    (OUT | {"reported_event_id": "e"}, {"status": "started", "opted_out_at": None}),
    (
        OUT | {"reported_event_id": "e", "command_status": "rejected", "answered_at": at(5)},
        {"status": "started", "opted_out_at": None, "command_id": None, "command_status": None},
    ),
    (OUT | {"reported_event_id": "e", "reported_at": at(5)}, None),
    (OUT | {"reported_event_id": "e", "event_status": "scheduled"}, None),
    (OUT | {"reported_event_id": "e", "released_at": at(5)}, None),
    (OUT | {"reported_event_id": "e", "has_opt_out": True}, None),
    (
        OUT | {"command_status": "acknowledged", "answered_at": at(6)},
        {"status": "started", "opted_out_at": None, "named_at": None, "acknowledged_at": at(6)},
    ),
    (OUT | {"command_status": "acknowledged", "answered_at": at(4)}, None),
    (OUT | {"command_status": "rejected", "answered_at": at(5)}, None),
    # It is asked no more.
    (UNWANTED, RELEASED),
    (NAMED | UNWANTED, RELEASED),
    (UNWANTED | RELEASED | {"released_at": at(3), "command_status": None}, None),
    (
        {"has_opt_out": True},
        {"status": "opted_out", "opted_out_at": NOW, "released_at": NOW},
    ),
    # It stays.
    (NAMED | {"reported_at": at(3), "reported_event_id": "e"}, None),
    (NAMED | {"reported_at": at(2)}, None),
    (NAMED | {"reported_at": at(60)}, None),
    ({"status": "started", "started_at": at(2), "reported_at": at(3)}, None),
    # It is away.
    ({"is_away": True}, {"status": "planned", "requested_reduction_kw": 0.0, "command_id": None}),
    (
        NAMED | {"is_away": True, "reported_at": at(2), "reported_event_id": "e"},
        {"status": "planned", "requested_reduction_kw": 0.0, "command_id": None},
    ),
    ({"status": "planned", "requested_reduction_kw": 0.0, "command_id": None, "command_status": None}, None),
    (NAMED | {"status": "planned", "reported_at": at(3)}, None),
]


@pytest.mark.parametrize(("known", "changes"), CASES, ids=str)
def test_what_follows(known: dict[str, Any], changes: dict[str, Any] | None) -> None:
    assert after(**known) == changes


def test_nobody() -> None:
    assert followed(pl.DataFrame(schema=FollowedPartFrame.types()), NOW).is_empty()
