"""The analysts' API refuses what cannot be meant, and lists what there is."""

from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from analysis import HttpGrid, connect
from analysis.arguments import (
    checked_aggregate,
    checked_baseline,
    checked_of,
    checked_revision,
    checked_service,
    checked_zone,
    choice,
    without_password,
)
from analysis.ranges import granularity, time_range_us
from schemas.demand_response.baselines import BASELINES

BERLIN = ZoneInfo("Europe/Berlin")
SECRET = "s3cr3t"  # noqa: S105


@pytest.mark.parametrize("wrong", ["avg", "Mean", "", "sums", None, 3])
def test_aggregates_are_listed(wrong: Any) -> None:
    """`aggregate="avg"` once gave energy, without a word."""
    with pytest.raises(ValueError, match=r"aggregate is .*expected one of energy, mean, sum"):
        checked_aggregate(wrong)


def test_baselines_are_listed() -> None:
    assert checked_baseline(None) is None
    assert [checked_baseline(name) for name in BASELINES] == list(BASELINES)
    with pytest.raises(ValueError, match=r"baseline is '10-of-9'.*10-of-10"):
        checked_baseline("10-of-9")


@pytest.mark.parametrize(
    ("wrong", "near"), [("Berlin", "Europe/Berlin"), ("Europe/Berlni", "Europe/Berlin"), ("", "names")]
)
def test_zones_near_the_wrong_one_are_named(wrong: str, near: str) -> None:
    with pytest.raises(ValueError, match=f"zone is '{wrong}'.*{near}"):
        checked_zone(wrong)
    assert checked_zone("Europe/Berlin") == BERLIN


@pytest.mark.parametrize("wrong", [0, -1, 1.0, True, "1"])
def test_revisions_are_numbers(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"revision is .*from 1 on"):
        checked_revision(wrong)


@pytest.mark.parametrize(
    ("of", "message"),
    [
        ({"ven": "ven-1"}, "did you mean 'ven_id'"),
        ({"ven_id": 7}, "ven_id is 7"),
        ({"ven_id": ""}, "ven_id is ''"),
        ({"load_id": "hvac1"}, "of a ven_id"),
        ({"colour": "red"}, "ven_id, load_id|load_id, ven_id"),
    ],
)
def test_entities_are_ids(of: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_of(of)


@pytest.mark.parametrize("wrong", ["yesterday", "2026-13-01", "", 5, 1.5, True, ["2026-01-01"]])
@pytest.mark.parametrize("argument", ["start", "end"])
def test_dates_say_how_they_are_written(wrong: Any, argument: str) -> None:
    with pytest.raises(ValueError, match=f"{argument} is .*expected 2026-07-15, 2026-07-15T18:00"):
        time_range_us(**{"start": None, "end": None, argument: wrong}, zone=BERLIN)


def test_dates_of_each_kind() -> None:
    within = time_range_us(date(2026, 7, 15), "2026-07-15T18:00", BERLIN)
    assert within.start_us is not None
    assert within.end_us is not None
    assert within.end_us - within.start_us == 18 * 3_600 * 10**6


@pytest.mark.parametrize("wrong", ["5", "0m", "1 h", "1.5h", "1D", "", None, 300])
def test_granularities_say_what_there_is(wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"granularity is .*such as 15m or 1d"):
        granularity(wrong, "mean")


def test_a_finer_granularity_is_for_sums() -> None:
    with pytest.raises(ValueError, match="aggregate='sum' has finer ones"):
        granularity("30s", "mean")
    assert granularity("30s", "sum").width_s == 30


def test_few_names_are_all_listed_and_of_many_the_nearest() -> None:
    many = [f"evt-{number}" for number in range(100)]
    with pytest.raises(ValueError, match=r"event is 'evt-1x': expected one of 100 names, such as evt-1"):
        choice("event", "evt-1x", many)
    with pytest.raises(ValueError, match="there is none"):
        choice("event", "e", [])


@pytest.mark.parametrize(
    "wrong",
    [
        "http://",
        "ftp://host",
        "http://host:port",
        "http://host:99999",
        "http://host/api",
        "http://host:8000/api/",
        "http://host?x=1",
        f"ftp://me:{SECRET}@host",
        f"http://me:{SECRET}@host/api",
    ],
)
def test_wrong_urls_of_a_service(wrong: str) -> None:
    with pytest.raises(ValueError, match="http://") as refused:
        checked_service(wrong)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("wrong", ["localhost:8000", f"mysql://me:{SECRET}@db/x", "db"])
def test_wrong_urls_of_anything(wrong: str) -> None:
    with pytest.raises(ValueError, match="expected postgresql://") as refused:
        connect(wrong)
    assert SECRET not in str(refused.value)


def test_a_key_is_for_http() -> None:
    with pytest.raises(ValueError, match="key is for a service over HTTP"):
        connect("postgresql://db/x", key="gg_1")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_grid_says_where_it_is_and_in_which_zone(scheme: str) -> None:
    with connect(f"{scheme}://me:{SECRET}@db.example/grid", zone="Europe/Berlin") as grid:
        assert repr(grid) == "<DatabaseGrid of postgresql://me@db.example/grid, zone Europe/Berlin>"
        assert SECRET not in repr(getattr(grid, "raw"))  # noqa: B009 - a Grid over HTTP has none
        assert "ven_telemetry" in repr(getattr(grid, "raw"))  # noqa: B009
    assert repr(connect("http://host:8000/", key=SECRET)) == "<HttpGrid of http://host:8000, zone UTC>"


def test_a_service_that_is_not_there() -> None:
    grid = HttpGrid("http://127.0.0.1:9")
    with pytest.raises(ConnectionError, match=r"http://127.0.0.1:9 cannot be reached: .*refused"):
        grid.network()


def test_passwords_are_not_shown() -> None:
    assert without_password(f"postgresql://me:{SECRET}@db/x?y=1") == "postgresql://me@db/x?y=1"
    assert without_password(f"postgresql:///x?password={SECRET}&a=b") == "postgresql:///x?password=...&a=b"
    assert without_password("http://host") == "http://host"
