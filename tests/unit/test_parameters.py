"""Query parameters: valid values, and a 400 that names the parameter for others."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import falcon
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.times.instants import microseconds
from serving.history.planner import HistoryRequest
from serving.http.parameters import history_request, identifier, page
from serving.page import Page

Parameters = Mapping[str, str | list[str]]

THREE_US = 1_720_623_600_000_000
"""2024-07-10T15:00:00Z"""


def refusal_of_window(parameters: Parameters) -> str:
    with pytest.raises(falcon.HTTPBadRequest) as refused:
        history_request(parameters)
    return refused.value.description or ""


def test_nothing_asked_is_everything_in_five_minutes() -> None:
    assert history_request({}) == HistoryRequest(None, None, 300, "sum")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("30s", 30),
        ("5m", 300),
        ("007m", 420),
        ("1h", 3600),
        ("36h", 129_600),
        ("999999999h", 3_599_999_996_400),
    ],
)
def test_granularity(text: str, seconds: int) -> None:
    assert history_request({"granularity": text}).granularity_s == seconds


@pytest.mark.parametrize(
    "text",
    [
        "0s",
        "-5m",
        "5",
        "m",
        "5 m",
        "5M",
        "1q",
        "1D",
        "1.5h",
        "5m5m",
        "+5m",
        "\u0665m",
        "1000000000s",
        "0000000000s",
        "1e3s",
        "5m\n",
    ],
)
def test_granularities_that_are_none(text: str) -> None:
    assert refusal_of_window({"granularity": text}).startswith("granularity must be")


@pytest.mark.parametrize(
    "text",
    [
        "2024-07-10T15:00:00Z",
        "2024-07-10T15:00:00",
        "2024-07-10T15:00",
        "2024-07-10 15:00:00",
        "20240710T150000Z",
        "2024-07-10T17:00:00+02:00",
        "2024-07-10T17:00:00 02:00",
        "2024-07-10T17:00:00 0200",
        "2024-07-10T09:30:00-05:30",
        "2024-07-10T15:00:00.000000Z",
    ],
)
def test_instants_with_and_without_zones(text: str) -> None:
    asked = history_request({"start": text, "end": text})
    assert (asked.start_us, asked.end_us) == (THREE_US, THREE_US + 1)


def test_a_date_is_its_midnight() -> None:
    assert history_request({"start": "2024-07-10"}).start_us == THREE_US - 15 * 3600 * 1_000_000


@given(st.datetimes(datetime(1970, 1, 1), datetime(9998, 12, 30), timezones=st.just(UTC)))  # noqa: DTZ001
def test_the_end_is_inclusive_to_the_microsecond(end: datetime) -> None:
    assert history_request({"end": end.isoformat()}).end_us == microseconds(end) + 1


@pytest.mark.parametrize("name", ["start", "end"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "1720623600",
        "2024-07-10T25:00:00Z",
        "9999-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "0001-01-01T00:00:00+14:00",
        "x" * 10_000,
    ],
)
def test_instants_that_are_none(name: str, text: str) -> None:
    detail = refusal_of_window({name: text})
    assert detail.startswith(f"{name} is ")
    assert "expected" in detail
    assert len(detail) < 300


def test_an_instant_with_a_nul_is_none() -> None:
    assert refusal_of_window({"start": "2024-07-10T15:00:00Z\0"}).startswith("start is ")


def test_the_last_year_that_can_be_asked_for() -> None:
    assert history_request({"end": "9998-12-31T23:59:59.999999Z"}).end_us is not None


def test_what_lies_before_the_epoch_is_asked_for_from_there() -> None:
    assert history_request({"start": "0001-01-01", "end": "1960-01-01"}) == HistoryRequest(0, 1, 300)


def test_start_after_end() -> None:
    asked = {"start": "2024-07-10T15:00:00.000001Z", "end": "2024-07-10T17:00:00+02:00"}
    assert refusal_of_window(asked) == "start must not be after end"


@given(*(st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)) for _ in "12"))  # noqa: DTZ001
def test_start_and_end_in_order_are_a_window(one: datetime, other: datetime) -> None:
    start, end = sorted((one, other))
    asked = history_request({"start": start.isoformat(), "end": end.isoformat()})
    assert asked.start_us is not None
    assert asked.end_us is not None
    assert timedelta(microseconds=asked.end_us - asked.start_us) == end - start + timedelta(microseconds=1)


@pytest.mark.parametrize("aggregate", ["sum", "energy", "mean"])
def test_aggregates(aggregate: str) -> None:
    assert history_request({"aggregate": aggregate, "granularity": "15m"}).aggregate == aggregate


@pytest.mark.parametrize("aggregate", ["avg", "SUM", "sum "])
def test_aggregates_that_are_none(aggregate: str) -> None:
    assert refusal_of_window({"aggregate": aggregate}) == "aggregate must be one of sum, energy, mean"


@pytest.mark.parametrize("aggregate", ["energy", "mean"])
@pytest.mark.parametrize("granularity", ["7s", "1m", "13m", "301s"])
def test_energy_needs_whole_slots(aggregate: str, granularity: str) -> None:
    detail = refusal_of_window({"aggregate": aggregate, "granularity": granularity})
    assert detail.startswith("granularity must be a multiple of 5m")


@pytest.mark.parametrize("name", ["start", "end", "granularity", "aggregate"])
def test_a_window_parameter_that_is_repeated(name: str) -> None:
    assert refusal_of_window({name: ["5m", "5m"]}) == f"{name} must be given once"


def test_pages() -> None:
    assert page({}) == Page(None, None)
    assert page({"limit": "1", "after": ""}) == Page(1, "")
    assert page({"limit": "10000", "after": "ven 7/é"}) == Page(10_000, "ven 7/é")


@pytest.mark.parametrize(
    ("parameters", "name"),
    [
        *(({"limit": limit}, "limit") for limit in ("", "0", "-1", "10001", "ten", "1.0", "1e3", "٣", " 1")),
        ({"after": "a\0b"}, "after"),
        ({"limit": ["1", "2"]}, "limit"),
        ({"after": ["a", "b"]}, "after"),
    ],
)
def test_pages_that_are_none(parameters: Parameters, name: str) -> None:
    with pytest.raises(falcon.HTTPBadRequest) as refused:
        page(parameters)
    assert (refused.value.description or "").startswith(f"{name} must")


def test_ids_without_control_characters_are_ids() -> None:
    assert identifier("venId", "ven 7/é?#%") == "ven 7/é?#%"
    with pytest.raises(falcon.HTTPBadRequest) as refused:
        identifier("venId", "a\nb")
    assert refused.value.description == "venId must not have control characters"
