"""Latest values: which message wins, what a range gave, and what is lost when that is taken out.

Small values that can be read by eye; `test_transforms` compares the whole with a loop.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.summaries.models import ReportFrame, TransitionFrame
from jobs.transforms.summaries.latest import LOADS, VENS, latest_loads, latest_vens, lost, newest, without
from schemas.tables import Frame
from schemas.tables.raw import EntryFrame
from schemas.tables.snapshots import LoadSnapshotFrame, VenSnapshotFrame
from schemas.times.instants import microseconds
from schemas.times.time_ranges import TimeRange

NOON = datetime(2024, 7, 10, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
TICK = timedelta(microseconds=1)
KEYS = ("ven_id", "load_id")
HOUR = TimeRange(NOON, NOON + 60 * MINUTE)


def frame(model: type[Frame], *rows: dict[str, Any]) -> pl.DataFrame:
    silent: dict[str, Any] = dict.fromkeys(model.types())
    return pl.DataFrame([silent | row for row in rows], schema=model.types())


def vens(*rows: dict[str, Any]) -> pl.DataFrame:
    return frame(VenSnapshotFrame, *({"ven_id": "a"} | row for row in rows))


def loads(*rows: dict[str, Any]) -> pl.DataFrame:
    return frame(LoadSnapshotFrame, *({"ven_id": "a", "load_id": "l"} | row for row in rows))


def stamp(at: datetime, rank: int = 0) -> int:
    return 2 * microseconds(at) + rank


def known(latest: pl.DataFrame) -> dict[str, Any]:
    [row] = latest.to_dicts()
    return {name: value for name, value in row.items() if value is not None and name not in KEYS}


# Which message wins


def test_the_newest_report_speaks_for_all_its_fields_also_where_it_says_nothing() -> None:
    """Only usage is carried on: an event that a newer report does not name is over for the VEN."""
    old = {"ven_id": "a", "ts": NOON, "received_at": NOON, "shed_power_kw": 2.0, "used_power_kw": 3.0}
    old |= {"event_id": "e", "battery_soc": 0.5, "requested_reduction_kw": 1.0}
    new = {"ven_id": "a", "ts": NOON + MINUTE, "received_at": NOON + MINUTE, "shed_power_kw": 0.0}
    for order in ((old, new), (new, old)):
        latest = latest_vens(frame(ReportFrame, *order), frame(TransitionFrame))
        assert known(latest) == {
            "ts": NOON + MINUTE,
            "used_power_kw": 3.0,
            "used_power_ts": NOON,
            "shed_power_kw": 0.0,
            "received_at": NOON + MINUTE,
            "heard_at": NOON + MINUTE,
        }


def test_received_last_is_not_newest() -> None:
    replayed = {"ven_id": "a", "ts": NOON - 60 * MINUTE, "received_at": NOON + MINUTE, "shed_power_kw": 9.0}
    live = {"ven_id": "a", "ts": NOON, "received_at": NOON, "shed_power_kw": 1.0}
    latest = latest_vens(frame(ReportFrame, replayed, live), frame(TransitionFrame))
    assert known(latest) == {
        "ts": NOON,
        "shed_power_kw": 1.0,
        "received_at": NOON + MINUTE,
        "heard_at": NOON,  # the replay was not heard live
    }


def test_statuses_and_reports_of_different_vens_are_both_there() -> None:
    report = {"ven_id": "b", "ts": NOON, "received_at": NOON, "shed_power_kw": 0.0}
    words = [{"ven_id": "a", "ts": NOON + each * MINUTE, "status": word} for each, word in enumerate("xyz")]
    latest = latest_vens(frame(ReportFrame, report), frame(TransitionFrame, *reversed(words)))
    assert latest.select("ven_id", "status", "status_ts").rows() == [
        ("a", "z", NOON + 2 * MINUTE),
        ("b", None, None),
    ]


def test_each_field_of_a_load_has_the_stamp_of_the_message_that_gave_it() -> None:
    entry = {"ven_id": "a", "load_id": "l"}
    sample = frame(EntryFrame, entry | {"ts": NOON + MINUTE, "used_power_kw": 1.0})
    described = frame(EntryFrame, entry | {"ts": NOON, "name": "N", "used_power_kw": 7.0})
    assert known(latest_loads(sample, described)) == {
        "ts": NOON + MINUTE,
        "used_power_kw": 1.0,
        "used_power_kw_stamp": stamp(NOON + MINUTE, 1),
        "name": "N",
        "name_stamp": stamp(NOON),
    }


@pytest.mark.parametrize("turned", [False, True])
def test_groups_of_columns_are_merged_by_their_own_order(turned: bool) -> None:  # noqa: FBT001
    one = vens({"ts": NOON, "shed_power_kw": 1.0, "status": "x", "status_ts": NOON + MINUTE})
    other = vens({"ts": NOON + TICK, "event_id": "e", "status": "y", "status_ts": NOON, "heard_at": NOON})
    parts = [other, one] if turned else [one, other]
    assert known(newest(parts, VENS)) == {
        "ts": NOON + TICK,  # and with it no `shed_power_kw`
        "event_id": "e",
        "status": "x",
        "status_ts": NOON + MINUTE,
        "heard_at": NOON,
    }


def test_what_nothing_vouches_for_is_no_row() -> None:
    assert newest([vens({"received_at": NOON})], VENS).is_empty()
    assert known(newest([vens({"status_ts": NOON, "status": "x"})], VENS)) == {
        "status": "x",
        "status_ts": NOON,
    }


def test_a_load_whose_newest_message_is_gone_is_as_new_as_its_newest_field() -> None:
    latest = loads(
        {"name": "N", "name_stamp": stamp(NOON, 1), "load_type": "t", "load_type_stamp": stamp(NOON - MINUTE)}
    )
    assert known(newest([latest], LOADS))["ts"] == NOON
    vouched = latest.with_columns(ts=pl.lit(NOON + MINUTE).cast(pl.Datetime("us", "UTC")))
    assert known(newest([vouched], LOADS))["ts"] == NOON + MINUTE


# What a range gave


@pytest.mark.parametrize(
    ("at", "stays"),
    [(NOON - TICK, True), (NOON, False), (HOUR.end - TICK, False), (HOUR.end, True)],
)
def test_a_range_is_half_open(at: datetime, stays: bool) -> None:  # noqa: FBT001
    for rank in (0, 1):
        load = loads({"ts": at, "name": "N", "name_stamp": stamp(at, rank)})
        left = known(without(load, LOADS, HOUR))
        assert left == ({"ts": at, "name": "N", "name_stamp": stamp(at, rank)} if stays else {})
    ven = vens({"ts": at, "shed_power_kw": 1.0, "event_id": "e"})
    assert known(without(ven, VENS, HOUR)) == (known(ven) if stays else {})


def test_only_the_groups_that_the_range_gave_are_taken_out() -> None:
    ven = vens(
        {"ts": NOON, "shed_power_kw": 1.0, "used_power_kw": 2.0, "used_power_ts": NOON - MINUTE}
        | {"status": "x", "status_ts": HOUR.end, "received_at": NOON, "heard_at": NOON}
    )
    assert known(without(ven, VENS, HOUR)) == {
        "used_power_kw": 2.0,
        "used_power_ts": NOON - MINUTE,
        "status": "x",
        "status_ts": HOUR.end,
        "received_at": NOON,
        "heard_at": NOON,
    }


def test_null_is_never_within_the_range() -> None:
    ven = vens({"status": "kept", "ts": NOON})
    assert known(without(ven, VENS, HOUR)) == {"status": "kept"}


# What is lost


@pytest.mark.parametrize("order", ["ts", "used_power_ts", "status_ts"])
def test_a_group_that_nothing_gives_any_more_is_lost(order: str) -> None:
    full = {"ts": NOON, "used_power_ts": NOON, "status_ts": NOON}
    latest = vens(full)
    assert lost(latest, vens(full), VENS) == []
    assert lost(latest, vens(full | {order: None}), VENS) == ["a"]
    assert lost(latest, latest.clear(), VENS) == ["a"]
    assert lost(vens(full | {order: None}), vens(full), VENS) == []  # gained, not lost
    assert lost(latest, vens(full | {order: NOON - MINUTE}), VENS) == []  # older, but there


def test_vens_are_named_once_whatever_they_lost() -> None:
    latest = frame(
        LoadSnapshotFrame,
        *({"ven_id": v, "load_id": n, "ts": NOON, "name_stamp": 0} for v in "ba" for n in "xy"),
    )
    assert lost(latest, latest.clear(), LOADS) == ["a", "b"]


fields = st.sampled_from(sorted(LOADS.groups))
messages = st.lists(
    st.tuples(st.integers(-90, 150), st.sets(fields, max_size=3)), unique_by=lambda each: each[0], max_size=8
)


@given(messages, st.integers(-60, 60), st.integers(1, 120))
def test_taking_out_a_range_and_putting_it_in_again_changes_nothing(
    drawn: list[tuple[int, set[str]]], first: int, length: int
) -> None:
    """As a rebuild does, where all older messages are still there."""
    within = TimeRange(NOON + first * MINUTE, NOON + (first + length) * MINUTE)
    entries = frame(
        EntryFrame,
        *(
            {"ven_id": "a", "load_id": "l", "ts": NOON + at * MINUTE}
            | {LOADS.groups[order][0]: VALUES[LOADS.groups[order][0]] for order in given_}
            for at, given_ in drawn
        ),
    )
    in_range = entries.filter(pl.col("ts").is_between(within.start, within.end, closed="left"))
    older = entries.filter(pl.col("ts") < within.start)
    columns = list(LoadSnapshotFrame.types())
    latest, fresh, before = (
        latest_loads(each, entries.clear()).select(columns) for each in (entries, in_range, older)
    )
    parts = [without(latest, LOADS, within), fresh]
    rebuilt = newest(parts, LOADS)
    if lost(latest, rebuilt, LOADS):
        rebuilt = newest([*parts, before], LOADS)
    assert rebuilt.to_dicts() == latest.to_dicts()


VALUES: dict[str, Any] = {
    **dict.fromkeys(("load_type", "name"), "x"),
    **dict.fromkeys(("used_power_kw", "shed_power_kw", "capacity_kw", "shed_capability_kw"), 1.0),
    "enabled": True,
    "priority": 1,
}
