"""Each transform equals a loop that can be read by eye.

Powers are drawn as eighths of a kW, so that sums are exact whatever their order.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.summaries.models import (
    LoadSampleFrame,
    LoadSumsFrame,
    ReportFrame,
    StatusSumsFrame,
    TransitionFrame,
)
from jobs.transforms.events.presence import PROMPT_WITHIN
from jobs.transforms.summaries.buckets import bucket_samples, coarsen
from jobs.transforms.summaries.latest import latest_loads, latest_vens
from jobs.transforms.summaries.totals import EnergyToday, load_type_rollups, network_snapshot
from schemas.tables import FRAMES, Frame, metadata
from schemas.tables.history import NETWORK_RESOLUTIONS_S
from schemas.tables.raw import EntryFrame
from schemas.tables.snapshots import LOAD_FIELDS
from schemas.times.instants import from_microseconds, microseconds

JsonRow = dict[str, Any]

NOON = datetime(2024, 7, 10, 12, tzinfo=UTC)
DAY = date(2024, 7, 11)
KEYS: dict[str, list[str]] = {
    "network_history": [],
    "ven_history": ["ven_id"],
    "load_history": ["ven_id", "load_id"],
}

powers = st.integers(-80, 80).map(lambda eighths: eighths / 8)
maybe_power = st.none() | powers
near_noon = st.integers(-90, 90).map(lambda half_minutes: NOON + timedelta(seconds=30 * half_minutes))
anywhere = st.datetimes(datetime(1969, 12, 30), datetime(2040, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
instants = near_noon | near_noon | anywhere
vens = st.sampled_from(("ven-1", "ven-2", "Zürich"))
loads = st.sampled_from(("hvac1", "pv1"))


def rows(unique: tuple[str, ...] = (), **columns: st.SearchStrategy[Any]) -> st.SearchStrategy[list[JsonRow]]:
    def key(row: JsonRow) -> Any:
        return tuple(row[name] for name in unique) if unique else id(row)

    return st.lists(st.fixed_dictionaries(columns), max_size=25, unique_by=key)


def frame(model: type[Frame], drawn: list[JsonRow]) -> pl.DataFrame:
    return model.validate(pl.DataFrame(drawn, schema=model.types()))


def as_rows(answer: pl.DataFrame, table: str) -> list[JsonRow]:
    """The answer's rows, once its table's model has found it to be right."""
    columns = metadata.tables[table].c.keys()
    return FRAMES[table].validate(answer.select(columns)).to_dicts()


def said(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None]


# History

samples = rows(ven_id=vens, load_id=loads, ts=instants, used_power_kw=maybe_power, shed_power_kw=maybe_power)


def loop_buckets(drawn: list[JsonRow], table: str, resolution_s: int) -> list[JsonRow]:
    grouped: dict[tuple[Any, ...], list[JsonRow]] = defaultdict(list)
    for sample in drawn:
        us = microseconds(sample["ts"])
        bucket = from_microseconds(us - us % (resolution_s * 1_000_000))
        grouped[*(sample[key] for key in KEYS[table]), bucket].append(sample)
    buckets = []
    for (*entity, bucket), members in sorted(grouped.items()):
        used = said(sample["used_power_kw"] for sample in members)
        shed = said(sample["shed_power_kw"] for sample in members)
        buckets.append(
            dict(zip(KEYS[table], entity, strict=True))
            | {
                "resolution_s": resolution_s,
                "bucket": bucket,
                "used_power_kw_sum": sum(used, 0.0),
                "shed_power_kw_sum": sum(shed, 0.0),
                "samples": len(members),
                "used_samples": len(used),
                "shed_samples": len(shed),
            }
        )
    return buckets


@pytest.mark.parametrize("table", KEYS)
@given(samples, st.sampled_from(NETWORK_RESOLUTIONS_S))
def test_samples_fall_into_buckets(table: str, drawn: list[JsonRow], resolution_s: int) -> None:
    buckets = bucket_samples(frame(LoadSampleFrame, drawn), KEYS[table], resolution_s)
    assert as_rows(buckets, table) == loop_buckets(drawn, table, resolution_s)


@pytest.mark.parametrize("table", KEYS)
@given(samples, st.sampled_from(((1, 300), (300, 3600), (1, 3600), (300, 300))))
def test_coarser_buckets_are_those_of_the_samples(
    table: str, drawn: list[JsonRow], resolutions_s: tuple[int, int]
) -> None:
    fine_s, coarse_s = resolutions_s
    fine = bucket_samples(frame(LoadSampleFrame, drawn), KEYS[table], fine_s)
    assert as_rows(coarsen(fine, KEYS[table], coarse_s), table) == loop_buckets(drawn, table, coarse_s)


# The latest

reports = rows(
    unique=("ven_id", "ts"),
    ven_id=vens,
    ts=instants,
    used_power_kw=maybe_power,
    shed_power_kw=powers,
    requested_reduction_kw=maybe_power,
    event_id=st.none() | st.sampled_from(("evt-1", "")),
    battery_soc=maybe_power,
    received_at=instants,
)
transitions = rows(unique=("ven_id", "ts"), ven_id=vens, ts=instants, status=st.sampled_from(("online", "x")))


def loop_latest_vens(telemetry: list[JsonRow], statuses: list[JsonRow]) -> list[JsonRow]:
    latest = []
    for ven_id in sorted({row["ven_id"] for row in telemetry + statuses}):
        of_ven = sorted((r for r in telemetry if r["ven_id"] == ven_id), key=by_time)
        newest = of_ven[-1] if of_ven else {}
        usage = [r for r in of_ven if r["used_power_kw"] is not None]
        words = sorted((s for s in statuses if s["ven_id"] == ven_id), key=by_time)
        latest.append(
            {
                "ven_id": ven_id,
                "ts": newest.get("ts"),
                "used_power_kw": usage[-1]["used_power_kw"] if usage else None,
                "used_power_ts": usage[-1]["ts"] if usage else None,
                "shed_power_kw": newest.get("shed_power_kw"),
                "requested_reduction_kw": newest.get("requested_reduction_kw"),
                "event_id": newest.get("event_id"),
                "battery_soc": newest.get("battery_soc"),
                "received_at": max((r["received_at"] for r in of_ven), default=None),
                "heard_at": max((r["received_at"] for r in of_ven if is_live(r)), default=None),
                "status": words[-1]["status"] if words else None,
                "status_ts": words[-1]["ts"] if words else None,
            }
        )
    return latest


def is_live(report: JsonRow) -> bool:
    """It was received when it was measured, whichever clock is ahead by a little."""
    return bool(abs(report["received_at"] - report["ts"]) <= PROMPT_WITHIN)


def by_time(row: JsonRow) -> datetime:
    at: datetime = row["ts"]
    return at


@given(reports, transitions)
def test_the_latest_of_vens(telemetry: list[JsonRow], statuses: list[JsonRow]) -> None:
    answer = latest_vens(frame(ReportFrame, telemetry), frame(TransitionFrame, statuses))
    assert as_rows(answer, "ven_snapshots") == loop_latest_vens(telemetry, statuses)


entries = rows(
    unique=("ven_id", "load_id", "ts"),
    ven_id=vens,
    load_id=loads,
    ts=instants,
    load_type=st.none() | st.sampled_from(("hvac", "")),
    name=st.none() | st.sampled_from(("A", "B")),
    used_power_kw=maybe_power,
    shed_power_kw=maybe_power,
    capacity_kw=maybe_power,
    shed_capability_kw=maybe_power,
    enabled=st.none() | st.booleans(),
    priority=st.none() | st.integers(-(2**31), 2**31 - 1),
)


def loop_latest_loads(sampled: list[JsonRow], described: list[JsonRow]) -> list[JsonRow]:
    stamped = [(2 * microseconds(row["ts"]) + 1, row) for row in sampled]
    stamped += [(2 * microseconds(row["ts"]), row) for row in described]
    latest: dict[tuple[str, str], JsonRow] = {}
    for stamp, row in sorted(stamped, key=lambda pair: pair[0]):
        load = latest.setdefault(
            (row["ven_id"], row["load_id"]),
            dict.fromkeys(("ts", *LOAD_FIELDS, *(f"{field}_stamp" for field in LOAD_FIELDS))),
        )
        load["ts"] = row["ts"]
        for field in LOAD_FIELDS:
            if row[field] is not None:
                load[field], load[f"{field}_stamp"] = row[field], stamp
    return [{"ven_id": key[0], "load_id": key[1], **latest[key]} for key in sorted(latest)]


@given(entries, entries)
def test_the_latest_of_loads_field_by_field(sampled: list[JsonRow], described: list[JsonRow]) -> None:
    answer = latest_loads(frame(EntryFrame, sampled), frame(EntryFrame, described))
    assert as_rows(answer, "load_snapshots") == loop_latest_loads(sampled, described)


def test_a_sample_outranks_a_description_of_the_same_instant() -> None:
    silent: JsonRow = dict.fromkeys(EntryFrame.types())
    entry = silent | {"ven_id": "ven-1", "load_id": "hvac1", "ts": NOON}
    sample = entry | {"capacity_kw": 1.0}
    description = entry | {"capacity_kw": 2.0, "name": "A"}
    [latest] = latest_loads(frame(EntryFrame, [sample]), frame(EntryFrame, [description])).to_dicts()
    assert (latest["capacity_kw"], latest["name"]) == (1.0, "A")


# Totals

ven_groups = rows(
    unique=("status",),
    status=st.none() | st.sampled_from(("online", "offline", "maintenance")),
    vens=st.integers(1, 9),
    reporting_vens=st.integers(0, 9),
    used_power_kw=powers,
    shed_power_kw=powers,
    whole_shed_power_kw=powers,
)
positive_powers = st.integers(0, 80).map(lambda eighths: eighths / 8)
groups = rows(
    load_type=st.none() | st.sampled_from(("hvac", "solar", "", "unknown")),
    enabled=st.booleans(),
    controllable=st.booleans(),
    capacity_kw=powers,
    shed_capability_kw=powers,
    usage_kw=positive_powers,
)


@given(groups)
def test_totals_by_load_type(drawn: list[JsonRow]) -> None:
    types: dict[str, list[JsonRow]] = defaultdict(list)
    for group in drawn:
        types["unknown" if group["load_type"] is None else group["load_type"]].append(group)
    expected = [
        {
            "load_type": load_type,
            "total_capacity_kw": sum(group["capacity_kw"] for group in types[load_type]),
            "total_shed_capability_kw": sum(group["shed_capability_kw"] for group in types[load_type]),
            "current_usage_kw": sum(group["usage_kw"] for group in types[load_type]),
        }
        for load_type in sorted(types)
    ]
    assert as_rows(load_type_rollups(frame(LoadSumsFrame, drawn)), "load_type_rollups") == expected


@given(ven_groups, groups, maybe_power)
def test_totals_of_the_network(
    drawn_vens: list[JsonRow], drawn_groups: list[JsonRow], energy_kwh: float | None
) -> None:
    potential = controllable = 0.0
    for ven in drawn_vens:
        potential += ven["whole_shed_power_kw"]
        if ven["status"] not in {"offline", "maintenance"}:
            controllable += ven["whole_shed_power_kw"]
    for group in drawn_groups:
        potential += group["shed_capability_kw"]
        if group["controllable"] and group["enabled"]:
            controllable += group["shed_capability_kw"]
    answer = network_snapshot(
        frame(StatusSumsFrame, drawn_vens),
        frame(LoadSumsFrame, drawn_groups),
        EnergyToday(DAY, energy_kwh),
        NOON,
    )
    assert as_rows(answer, "network_snapshot") == [
        {
            "network": 1,
            "ven_count": sum(ven["vens"] for ven in drawn_vens),
            "online_vens": sum(ven["vens"] for ven in drawn_vens if ven["status"] == "online"),
            "reporting_vens": sum(ven["reporting_vens"] for ven in drawn_vens),
            "controllable_power_kw": controllable,
            "potential_load_reduction_kw": potential,
            "household_usage_kw": sum(ven["used_power_kw"] for ven in drawn_vens),
            "current_load_reduction_kw": sum(ven["shed_power_kw"] for ven in drawn_vens),
            "energy_day": DAY,
            "energy_today_kwh": energy_kwh,
            "refreshed_at": NOON,
        }
    ]


# Nothing in, nothing out; of the right types


def empty(model: type[Frame]) -> pl.DataFrame:
    return frame(model, [])


EMPTY: dict[str, Callable[[], pl.DataFrame]] = {
    "network_history": lambda: bucket_samples(empty(LoadSampleFrame), [], 1),
    "ven_history": lambda: coarsen(bucket_samples(empty(LoadSampleFrame), ["ven_id"], 1), ["ven_id"], 300),
    "load_history": lambda: bucket_samples(empty(LoadSampleFrame), ["ven_id", "load_id"], 300),
    "ven_snapshots": lambda: latest_vens(empty(ReportFrame), empty(TransitionFrame)),
    "load_snapshots": lambda: latest_loads(empty(EntryFrame), empty(EntryFrame)),
    "load_type_rollups": lambda: load_type_rollups(empty(LoadSumsFrame)),
}


@pytest.mark.parametrize("table", EMPTY)
def test_nothing_makes_nothing(table: str) -> None:
    assert as_rows(EMPTY[table](), table) == []


def test_an_empty_network_has_totals_of_zero() -> None:
    answer = network_snapshot(empty(StatusSumsFrame), empty(LoadSumsFrame), EnergyToday(DAY, None), NOON)
    [totals] = as_rows(answer, "network_snapshot")
    assert (totals["ven_count"], totals["household_usage_kw"], totals["energy_today_kwh"]) == (0, 0.0, None)
