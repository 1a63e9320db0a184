"""The oracle is trusted because these answers were worked out by hand."""

import json
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.oracle.compare import assert_same, first_difference
from tests.oracle.decode import decode
from tests.oracle.loop import Oracle
from tests.oracle.messages import (
    Mix,
    Published,
    Setting,
    Window,
    encode_instant,
    instants,
    random_traffic,
    traffic,
)

pytestmark = pytest.mark.thorough

NOW = datetime(2024, 7, 10, 18, tzinfo=UTC)

CONTRACT_EXAMPLE = b"""
{"schemaVersion": "1.0", "venId": "ven-7", "timestamp": 1720623600, "usedPowerKw": 4.1, "shedPowerKw": 0.6,
 "requestedReductionKw": 1.0, "eventId": "evt-3", "batterySoc": 0.54,
 "loads": [{"id": "hvac1", "type": "hvac", "currentPowerKw": 2.2, "capacityKw": 3.5, "shedCapabilityKw": 1.4},
           {"id": "pv1", "type": "solar", "currentPowerKw": -1.3}]}
"""


def at(clock: str) -> datetime:
    """A time on 2024-07-10."""
    return datetime.fromisoformat(f"2024-07-10T{clock}+00:00")


def telemetry(ven_id: str, clock: str, used: float | None = None, **more: Any) -> Published:
    said = {"venId": ven_id, "timestamp": at(clock).isoformat(), "usedPowerKw": used, **more}
    return Published("volttron/metering", json.dumps(said).encode())


def snapshot(ven_id: str, clock: str, *loads: dict[str, Any]) -> Published:
    said = {"venId": ven_id, "timestamp": at(clock).isoformat(), "loads": loads}
    return Published(f"ven/loads/{ven_id}", json.dumps(said).encode())


def status(ven_id: str, clock: str, word: str) -> Published:
    said = {"venId": ven_id, "status": word, "timestamp": at(clock).isoformat()}
    return Published(f"ven/status/{ven_id}", json.dumps(said).encode())


def oracle(*messages: Published) -> Oracle:
    fed = Oracle()
    fed.receive_all(messages)
    return fed


def point(clock: str, used: float, shed: float = 0.0) -> dict[str, Any]:
    return {"timestamp": f"2024-07-10T{clock}Z", "usedPowerKw": used, "shedPowerKw": shed}


def energy(clock: str, used: float, shed: float = 0.0) -> dict[str, Any]:
    return {"timestamp": f"2024-07-10T{clock}Z", "usedEnergyKwh": used, "shedEnergyKwh": shed}


# The documents' own examples


def test_the_contracts_telemetry_example() -> None:
    fed = oracle(Published("oadr/meter/ven-7", CONTRACT_EXAMPLE))
    assert fed.network_stats(NOW) == {
        "venCount": 1,
        "controllablePowerKw": 1.4,
        "potentialLoadReductionKw": 1.4,
        "householdUsageKw": 4.1,
        "onlineVens": 0,
        "currentLoadReductionKw": 0.6,
        "averageHousePower": 4.1,
        "totalHousePowerToday": 0.342,  # one slot: 4.1 kW * 1/12 h
        "networkEfficiency": None,
    }
    assert fed.load_stats() == [
        {"type": "hvac", "totalCapacityKw": 3.5, "totalShedCapabilityKw": 1.4, "currentUsageKw": 2.2},
        # No capacity: usage + shed capability. Generation is not negative usage.
        {"type": "solar", "totalCapacityKw": 0.0, "totalShedCapabilityKw": 0.0, "currentUsageKw": 0.0},
    ]
    assert fed.ven_loads("ven-7") == [
        {
            "id": "hvac1",
            "type": "hvac",
            "capacityKw": 3.5,
            "shedCapabilityKw": 1.4,
            "currentPowerKw": 2.2,
            "name": "hvac1",
        },
        fed.ven_load("ven-7", "pv1"),
    ]
    assert fed.load_history("ven-7", "pv1") == {"points": [point("15:00:00", -1.3)]}
    assert fed.row_counts() == {"ven_telemetry": 1, "ven_load_samples": 2, "ven_statuses": 0}


def test_the_guides_network_history_example() -> None:
    fed = oracle(
        telemetry("a", "15:00:00", 5.31, shedPowerKw=2.0),
        telemetry("b", "15:14:59.999999", 7.0, shedPowerKw=0.45),
        telemetry("a", "15:15:00", 11.08, shedPowerKw=1.92),
        telemetry("a", "14:59:59.999999", 100),
        telemetry("a", "17:00:00.000001", 100),
    )
    assert fed.network_history(at("15:00:00"), at("17:00:00"), 900) == {
        "points": [
            {"timestamp": "2024-07-10T15:00:00Z", "usedPowerKw": 12.31, "shedPowerKw": 2.45},
            {"timestamp": "2024-07-10T15:15:00Z", "usedPowerKw": 11.08, "shedPowerKw": 1.92},
        ]
    }


# History


def two_slots() -> Oracle:
    """Slot 15:00: a has 6 and 2 kW, mean 4, so 4/12 kWh; b has 3 kW, 3/12 kWh. 15:05: a has 12 kW, 1 kWh.

    Together 7/12 + 12/12 = 19/12 = 1.583 kWh; in two slots, that is in 1/6 h: 9.5 kW on average.
    Of shed, a's 1 and 0 kW make 0.5/12 = 0.042 kWh, and 0.25 kW on average.
    """
    return oracle(
        telemetry("a", "15:00:00", 6, shedPowerKw=1),
        telemetry("a", "15:02:30", 2),
        telemetry("b", "15:01:00", 3),
        telemetry("a", "15:05:00", 12),
    )


@pytest.mark.parametrize("granularity_s", [600, 3600])
def test_energy_and_mean_of_two_slots(granularity_s: int) -> None:
    fed = two_slots()
    kwh = fed.network_history(granularity_s=granularity_s, aggregate="energy")
    mean = fed.network_history(granularity_s=granularity_s, aggregate="mean")
    assert kwh == {"points": [energy("15:00:00", 1.583, 0.042)]}
    assert mean == {"points": [point("15:00:00", 9.5, 0.25)]}


def test_energy_and_mean_by_slot_and_by_ven() -> None:
    fed = two_slots()
    assert fed.network_history(aggregate="energy")["points"] == [
        energy("15:00:00", 0.583, 0.042),
        energy("15:05:00", 1.0),
    ]
    assert fed.network_history(aggregate="mean")["points"] == [
        point("15:00:00", 7, 0.5),
        point("15:05:00", 12),
    ]
    # b has samples in one slot only: 0.25 kWh in 1/12 h.
    assert fed.ven_history("b", granularity_s=3600, aggregate="mean") == {"points": [point("15:00:00", 3)]}
    assert fed.network_stats(NOW)["totalHousePowerToday"] == 1.583


def test_a_cut_bucket_holds_only_the_samples_inside_the_range() -> None:
    fed = two_slots()
    cut = (at("15:00:00.000001"), at("15:02:30"), 600)
    assert fed.network_history(*cut) == {"points": [point("15:00:00", 5)]}
    # a: 2/12 kWh, b: 3/12 kWh; one slot.
    assert fed.network_history(*cut, "energy") == {"points": [energy("15:00:00", 0.417)]}
    assert fed.network_history(*cut, "mean") == {"points": [point("15:00:00", 5)]}
    assert fed.network_history(at("15:02:30"), at("15:02:30"), 1) == {"points": [point("15:02:30", 2)]}


def test_buckets_are_half_open_aligned_to_the_epoch_and_left_out_when_empty() -> None:
    fed = oracle(
        telemetry("a", "00:00:00", 1), telemetry("a", "06:59:59.999999", 2), telemetry("a", "21:00:00", 4)
    )
    # 2024-07-10T00:00Z is 477,960 h after the epoch: 4 h into a bucket of 7 h.
    points = fed.network_history(granularity_s=7 * 3600)["points"]
    assert points == [
        {"timestamp": "2024-07-09T20:00:00Z", "usedPowerKw": 1, "shedPowerKw": 0},
        point("03:00:00", 2),
        point("17:00:00", 4),
    ]


def test_a_missing_value_adds_nothing_but_its_sample_exists() -> None:
    fed = oracle(
        telemetry("a", "15:00:00", 6),
        telemetry("a", "15:01:00"),
        telemetry("a", "15:05:00", shedPowerKw=None),
    )
    assert fed.network_history()["points"] == [point("15:00:00", 6), point("15:05:00", 0)]
    # 6 kW over the samples that have a value, not over both: 0.5 kWh, but in two slots.
    assert fed.network_history(granularity_s=600, aggregate="energy")["points"] == [energy("15:00:00", 0.5)]
    assert fed.network_history(granularity_s=600, aggregate="mean")["points"] == [point("15:00:00", 3)]


def test_a_load_sample_without_shed_does_not_dilute_the_mean_but_a_panel_one_does() -> None:
    fed = oracle(
        telemetry("a", "15:00:00", 6, shedPowerKw=1, loads=[{"id": "x", "shedPowerKw": 1}]),
        telemetry("a", "15:01:00", 6, loads=[{"id": "x", "currentPowerKw": 2}]),
    )
    assert fed.ven_history("a", aggregate="mean") == {"points": [point("15:00:00", 6, 0.5)]}
    assert fed.load_history("a", "x", aggregate="mean") == {"points": [point("15:00:00", 2, 1)]}


def test_what_is_not_found_and_what_is_a_bad_request() -> None:
    fed = oracle(status("a", "15:00:00", "online"), snapshot("b", "15:00:00", {"id": "x"}))
    assert fed.ven_loads("nobody") is None
    assert fed.ven_history("nobody") is None
    assert fed.ven_loads("a") == []
    assert fed.ven_history("a") == {"points": []}
    assert fed.ven_load("a", "x") is None
    assert fed.load_history("a", "x") is None
    assert fed.load_history("b", "x") == {"points": []}
    with pytest.raises(ValueError, match="start after end"):
        fed.network_history(at("15:00:01"), at("15:00:00"))
    with pytest.raises(ValueError, match="granularity"):
        fed.network_history(granularity_s=60, aggregate="mean")


def test_today_begins_at_midnight_and_may_be_unknown() -> None:
    fed = oracle(telemetry("a", "00:00:00", 12), telemetry("a", "00:05:00", 6))
    assert fed.network_stats(at("23:00:00"))["totalHousePowerToday"] == 1.5
    assert fed.network_stats(at("23:00:00") + timedelta(hours=1))["totalHousePowerToday"] is None


# The latest of everything


def test_latest_is_device_time_and_what_is_left_out_was_said_before() -> None:
    fed = oracle(
        telemetry("a", "15:10:00", shedPowerKw=None, loads=[{"id": "x", "currentPowerKw": 3}]),
        telemetry("a", "15:05:00", 5, shedPowerKw=2, loads=[{"id": "x", "currentPowerKw": 9, "type": "ev"}]),
        snapshot("a", "15:00:00", {"id": "x", "capacityKw": 7, "type": "hvac", "name": "X"}),
        snapshot("a", "15:10:00", {"loadId": "x", "currentPowerKw": 8, "shedPowerKw": 4, "name": None}),
    )
    assert fed.ven_loads("a") == [
        {
            "id": "x",
            "type": "ev",
            "capacityKw": 7.0,
            "shedCapabilityKw": 4.0,  # none reported: the load's shed power
            "currentPowerKw": 3,  # telemetry outranks the snapshot of the same time
            "name": "X",
        }
    ]
    stats = fed.network_stats(NOW)
    assert stats["householdUsageKw"] == 5  # the last that was said
    assert stats["currentLoadReductionKw"] == 0  # missing in the latest telemetry: 0
    assert fed.row_counts()["ven_load_samples"] == 2


def test_controllable_leaves_out_the_offline_the_maintained_and_the_disabled() -> None:
    fed = oracle(
        snapshot("a", "15:00:00", {"id": "x", "shedCapabilityKw": 1}, {"id": "y", "shedCapabilityKw": 2}),
        telemetry("a", "15:01:00", loads=[{"id": "y", "enabled": False}]),
        snapshot("b", "15:00:00", {"id": "x", "shedCapabilityKw": 4, "enabled": None}),
        status("b", "15:02:00", "offline"),
        status("b", "15:01:00", "online"),
        status("b", "15:02:00", "online"),  # the first that arrived stands
        telemetry("c", "15:00:00", 6, shedPowerKw=8),  # no loads
        status("d", "15:00:00", "online"),
        snapshot("e", "15:00:00", {"id": "x", "shedCapabilityKw": 16}, {"id": "y", "shedCapabilityKw": -3}),
        status("e", "15:00:00", "maintenance"),
    )
    stats = fed.network_stats(NOW)
    assert stats["controllablePowerKw"] == 1 + 8
    assert stats["potentialLoadReductionKw"] == 1 + 2 + 4 + 8 + 16
    assert (stats["venCount"], stats["onlineVens"]) == (5, 1)
    assert stats["averageHousePower"] == 3  # 6 kW over a and c, which have telemetry
    assert fed.rejected == fed.conflicts == 1


def test_nothing_is_known_of_nobody() -> None:
    stats = oracle().network_stats(NOW)
    assert stats["averageHousePower"] is None
    assert stats["totalHousePowerToday"] is None
    assert oracle().load_stats() == oracle().network_history()["points"] == []


def test_a_load_without_a_type_is_unknown_and_types_are_sorted() -> None:
    loads = [{"id": "1", "type": "zoo"}, {"id": "2"}, {"id": "3", "type": "EV"}, {"id": "4", "type": "ev"}]
    types = [row["type"] for row in oracle(snapshot("a", "15:00:00", *loads)).load_stats()]
    assert types == ["EV", "ev", "unknown", "zoo"]


# What is accepted


def test_the_first_that_arrives_stands() -> None:
    first = telemetry("a", "15:00:00", 5, loads=[{"id": "x", "currentPowerKw": 1}])
    fed = oracle(
        first,
        first,
        Published("oadr/meter/a", first.payload),
        telemetry("a", "15:00:00", 6, loads=[{"id": "y", "currentPowerKw": 1}]),
    )
    assert fed.network_history()["points"] == [point("15:00:00", 5)]
    assert fed.known_loads() == {("a", "x")}
    assert (fed.refused, fed.conflicts, len(fed.rejected_messages)) == (0, 1, 1)


def test_old_names_count_where_the_new_ones_are_missing() -> None:
    fed = oracle(
        telemetry("a", "15:00:00", power_kw=3, shed_kw=1),
        telemetry("b", "15:00:00", 5, power_kw=3, shedPowerKw=0, shed_kw=1),
    )
    assert fed.ven_history("a") == {"points": [point("15:00:00", 3, 1)]}
    assert fed.ven_history("b") == {"points": [point("15:00:00", 5, 0)]}


def test_a_bad_load_entry_is_refused_alone() -> None:
    good = {"id": "x", "currentPowerKw": 1}
    bad = {"id": "y", "shedPowerKw": True}
    fed = oracle(
        telemetry("a", "15:00:00", 5, loads=[good, {**good, "currentPowerKw": 2}, bad, "z", {"id": ""}, {}])
    )
    assert fed.known_loads() == {("a", "x")}
    assert fed.load_history("a", "x") == {"points": [point("15:00:00", 1)]}
    assert (fed.rejected, fed.refused_entries, fed.refused_fields) == (0, 5, 0)


def test_a_bad_descriptive_field_is_refused_alone() -> None:
    bad = {"id": "y", "currentPowerKw": 1, "priority": True, "enabled": 1, "type": "ev"}
    fed = oracle(telemetry("a", "15:00:00", 5, loads=[bad], batterySoc="full"))
    assert fed.load_history("a", "y") == {"points": [point("15:00:00", 1)]}
    assert fed.ven_history("a") == {"points": [point("15:00:00", 5)]}
    assert (fed.rejected, fed.refused_entries, fed.refused_fields) == (0, 0, 2)
    assert [load["type"] for load in fed.load_stats()] == ["ev"]


@pytest.mark.parametrize("word", ["Offline", " offline\n", "false", "OFFLINE"])
def test_words_of_status_count_in_any_case(word: str) -> None:
    fed = oracle(
        status("a", "15:00:00", word), Published("ven/status/a", b'{"status": null, "timestamp": 0}')
    )
    assert (fed.network_stats(NOW)["onlineVens"], fed.refused, fed._latest_statuses()) == (
        0,
        1,
        {"a": "offline"},
    )


def test_null_for_missing_and_an_older_name_are_no_conflict() -> None:
    fed = oracle(
        telemetry("a", "15:00:00", 5, loads=[{"id": "x", "type": None}], batterySoc=0.5),
        telemetry("a", "15:00:00", power_kw=5, shedPowerKw=0, loads=[{"loadId": "x"}], battery_soc=0.5),
        telemetry("a", "15:00:00", power_kw=6, loads=[{"loadId": "x"}], battery_soc=0.5),
    )
    assert (fed.refused, fed.conflicts) == (0, 1)


@pytest.mark.parametrize(
    ("topic", "payload"),
    [
        ("oadr/meter/a", b"{"),
        ("oadr/meter/a", b"[]"),
        ("oadr/meter/a", b'{"timestamp": 1720623600, "venId": "b"}'),
        ("oadr/meter/a", b'{"timestamp": null}'),
        ("oadr/meter/a", b'{"timestamp": true}'),
        ("oadr/meter/a", b'{"timestamp": 1720623600, "usedPowerKw": "4"}'),
        ("oadr/meter/a", b'{"timestamp": 1720623600, "usedPowerKw": NaN}'),
        ("oadr/meter/a", b'{"timestamp": 1720623600, "shed_kw": false}'),
        ("oadr/meter/", b'{"timestamp": 1720623600}'),
        ("volttron/metering", b'{"timestamp": 1720623600}'),
        ("volttron/metering", b'{"timestamp": 1720623600, "venId": "a\\u0000"}'),
        ("ven/loads/a", b'{"venId": "a", "loads": []}'),
        ("ven/status/a", b'{"venId": "a", "timestamp": 1720623600}'),
    ],
)
def test_a_message_is_refused_as_a_whole(topic: str, payload: bytes) -> None:
    fed = oracle(Published(topic, payload))
    assert fed.rejected == 1
    assert fed.known_vens() == set()


def test_a_bare_status_counts_from_its_receipt() -> None:
    fed = oracle(status("a", "15:00:00", "online"))
    fed.receive(Published("ven/status/a", b"offline"), received_at=at("15:00:01"))
    assert fed.network_stats(NOW)["onlineVens"] == 0


# The traffic


@given(st.randoms(use_true_random=False), instants())
def test_every_spelling_of_a_time_is_the_same_microsecond(rnd: Random, when: datetime) -> None:
    payload = json.dumps({"timestamp": encode_instant(rnd, when)}).encode()
    message = decode(Published("oadr/meter/a", payload))
    assert message is not None
    assert message.at == when


@given(traffic(shrink_messages=False))
def test_a_second_delivery_changes_no_answer(messages: list[Published]) -> None:
    once, twice = oracle(*messages), oracle(*messages, *messages)
    assert twice.network_stats(NOW) == once.network_stats(NOW)
    assert twice.load_stats() == once.load_stats()
    assert twice.network_history() == once.network_history()
    assert twice.rejected_messages == once.rejected_messages
    assert twice.row_counts() == once.row_counts()


@given(traffic(min_size=5), instants(), instants())
def test_the_network_is_the_sum_of_its_vens_and_a_day_of_its_slots(
    messages: list[Published], one: datetime, other: datetime
) -> None:
    fed = oracle(*messages)
    window = (min(one, other), max(one, other))
    day, slots = (fed.network_history(*window, g, "energy")["points"] for g in (86_400, 300))
    vens = [fed.ven_history(ven_id, *window, 86_400, "energy") for ven_id in fed.known_vens()]
    of_vens = [p["usedEnergyKwh"] for ven in vens if ven for p in ven["points"]]
    total = sum(p["usedEnergyKwh"] for p in day)
    assert total == pytest.approx(sum(p["usedEnergyKwh"] for p in slots), abs=0.05)
    assert total == pytest.approx(sum(of_vens), abs=0.05)


def test_seeded_traffic_is_repeatable_and_has_everything_in_it() -> None:
    messages = random_traffic(7, 3000)
    assert messages == random_traffic(7, 3000)
    assert messages != random_traffic(8, 3000)
    assert sorted(messages) == sorted(random_traffic(7, 3000, shuffled=True))
    assert len(messages) == 3000 > len(set(messages))
    fed = oracle(*messages)
    assert min(fed.refused, fed.conflicts, fed.refused_entries, fed.refused_fields) > 20
    assert {"ven-1", "ven-2", "ven-3", "ven-4", "ven-snapshots-only", "ven-status-only"} == fed.known_vens()
    assert fed.ven_loads("ven-3") == []
    assert ("ven-1", "shed-door") in fed.known_loads()


def test_clean_traffic_in_a_small_window() -> None:
    window = Window(at("15:01:00"), at("15:09:00"), outliers=False)
    messages = random_traffic(7, 200, Setting(vens=2, window=window, mix=Mix(conflict=0, broken=0)))
    fed = oracle(*messages)
    assert fed.refused == 0
    assert {p["timestamp"] for p in fed.network_history()["points"]} == {
        "2024-07-10T15:00:00Z",
        "2024-07-10T15:05:00Z",
    }


# The comparison


@pytest.mark.parametrize(
    ("actual", "expected", "difference"),
    [
        ({"a": [1, 2.001]}, {"a": [1.0, 2]}, None),
        ({"a": [1, 2.003]}, {"a": [1, 2]}, "$.a[1]: got 2.003, expected 2"),
        ({"a": None}, {}, "$.a: got None, expected no such key"),
        ({}, {"a": None}, "$.a: missing, expected None"),
        ([1], [1, 2], "$: too few (1, expected 2), from [1]: 2"),
        ([1, 2], [1], "$: too many (2, expected 1), from [1]: 2"),
        ([True], [1], "$[0]: got True, expected 1"),
        ([None], [0], "$[0]: got None, expected 0"),
    ],
)
def test_the_path_of_the_first_difference(actual: Any, expected: Any, difference: str | None) -> None:
    assert first_difference(actual, expected) == difference


def test_assert_same_fails_with_the_path() -> None:
    assert_same({"a": 1}, {"a": 1.002})
    with pytest.raises(AssertionError, match=r"\$\.a: got 1, expected 1.01"):
        assert_same({"a": 1}, {"a": 1.01})
