"""Presence at its borders: what is still in time, what is still the same offset, what ends a status."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from jobs.summaries.models import RecentReportFrame, WatchedVenFrame
from jobs.transforms.events.presence import (
    ONE_TICK,
    PROMPT_WITHIN,
    PresenceTime,
    come_online,
    fallen_silent,
    intervals,
    skewed,
    skewed_presence,
)
from schemas.tables.presence import SkewedReportFrame

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PRESENCE_TIME = PresenceTime(intervals=3, at_least=timedelta(seconds=60))
NO_INTERVALS = pl.DataFrame(schema={"ven_id": pl.String, "interval": pl.Duration("us")})
NOBODY_SKEWED = pl.DataFrame(
    schema={"ven_id": pl.String, "heard_at": pl.Datetime("us", "UTC"), "clock_offset_s": pl.Float64}
)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def ven(**known: Any) -> pl.DataFrame:
    row = dict.fromkeys(WatchedVenFrame.types()) | {"ven_id": "a"} | known
    return pl.DataFrame([row], schema=WatchedVenFrame.types())


def every(seconds: float) -> pl.DataFrame:
    return pl.DataFrame({"ven_id": "a", "interval": timedelta(seconds=seconds)})


def reports(*pairs: tuple[float, float]) -> pl.DataFrame:
    """When each was received, and its device time, both in seconds before now."""
    return pl.DataFrame(
        [
            {"ven_id": "a", "received_at": ago(received), "ts": ago(ts), "judged_at": None}
            for received, ts in pairs
        ],
        schema=SkewedReportFrame.types(),
    ).select("ven_id", "ts", "received_at", "judged_at")


def online(vens: pl.DataFrame, report_intervals: pl.DataFrame = NO_INTERVALS) -> list[dict[str, Any]]:
    return come_online(vens, NOBODY_SKEWED, report_intervals, PRESENCE_TIME, NOW).to_dicts()


def silent(vens: pl.DataFrame, report_intervals: pl.DataFrame = NO_INTERVALS) -> list[dict[str, Any]]:
    return fallen_silent(vens, report_intervals, PRESENCE_TIME, NOW).to_dicts()


@pytest.mark.parametrize(("interval_s", "allowed_s"), [(None, 60), (5, 60), (20, 60), (21, 63), (600, 1800)])
def test_silence_begins_after_the_presence_time(interval_s: float | None, allowed_s: float) -> None:
    interval = NO_INTERVALS if interval_s is None else every(interval_s)
    in_time, late = (ven(status="online", heard_at=ago(allowed_s + more)) for more in (0, 0.001))
    assert silent(in_time, interval) == []
    [transition] = silent(late, interval)
    assert transition["silent_s"] == pytest.approx(allowed_s + 0.001)
    [back] = online(ven(heard_at=ago(allowed_s)), interval)
    assert (back["status"], back["reason"], back["ts"]) == ("online", "heard", ago(allowed_s))
    assert online(ven(heard_at=ago(allowed_s + 0.001)), interval) == []


@pytest.mark.parametrize(
    ("status_ts", "received_at", "is_silent"),
    [(10, 10, False), (70, 70, True), (70, 10, True), (-100, 10, False), (-100, 70, True)],
)
def test_a_status_counts_by_the_earlier_of_its_times(
    status_ts: float,
    received_at: float,
    is_silent: bool,  # noqa: FBT001 - a parameter
) -> None:
    said = ven(
        status="online", status_ts=ago(status_ts), status_received_at=ago(received_at), heard_at=ago(100)
    )
    assert bool(silent(said)) == is_silent


@pytest.mark.parametrize("status", ["offline", "maintenance"])
def test_who_is_not_expected_falls_not_silent(status: str) -> None:
    assert silent(ven(status=status, heard_at=ago(1000))) == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (None, "heard"),
        ("offline", "heard again"),
        ("charging", "heard"),
        ("online", None),
        ("maintenance", None),
    ],
)
def test_what_live_telemetry_makes_of_a_status(status: str | None, reason: str | None) -> None:
    said = {} if status is None else {"status_ts": ago(10), "status_received_at": ago(10)}
    found = online(ven(status=status, heard_at=ago(5), **said))
    assert [each["reason"] for each in found] == ([] if reason is None else [reason])


def test_a_status_stands_until_something_is_heard_after_its_receipt() -> None:
    """Independent of its own time; and the transition is dated after it."""
    for status_ts in (100, 10, -100):
        said = {"status": "offline", "status_ts": ago(status_ts), "status_received_at": ago(10)}
        assert online(ven(**said, heard_at=ago(10))) == []
        [back] = online(ven(**said, heard_at=ago(10) + ONE_TICK))
        assert back["ts"] == max(ago(10) + ONE_TICK, ago(status_ts) + ONE_TICK)


@pytest.mark.parametrize(("lag_s", "is_skewed"), [(10, False), (10.001, True), (-10, False), (-10.001, True)])
def test_what_is_prompt(lag_s: float, is_skewed: bool) -> None:  # noqa: FBT001 - a parameter
    assert PROMPT_WITHIN.total_seconds() == 10
    assert skewed(reports((0, lag_s))).height == is_skewed


def test_only_the_last_few_by_receipt_are_kept() -> None:
    kept = skewed(reports(*((9 - number, 1000 + number) for number in range(9))))
    assert kept.get_column("received_at").sort().to_list() == [ago(each) for each in (5, 4, 3, 2, 1)]


def heard(pairs: Sequence[tuple[float, float]], interval: pl.DataFrame = NO_INTERVALS) -> list[Any]:
    found = skewed_presence(reports(*pairs), interval, PRESENCE_TIME)
    return found.select("heard_at", "clock_offset_s").rows()


@pytest.mark.parametrize("lag_s", [60, -60])
def test_within_the_presence_time_one_report_is_enough(lag_s: float) -> None:
    assert heard([(5, 5 + lag_s)]) == [(ago(5), None)]
    assert heard([(5, 5 + lag_s * 1.001)]) == []
    assert heard([(5, 5 + lag_s * 1.5)], every(30)) == [(ago(5), None)]


@pytest.mark.parametrize(
    ("pairs", "offset_s"),
    [
        ([(20, 1020), (10, 1010), (0, 1000)], 1000),
        ([(20, 1020), (10, 1010), (5, 1000)], 995),  # 5 s of 20: a quarter
        ([(20, 1020), (10, 1010), (5.1, 1000)], None),
        ([(20, 1020), (10, 1010)], None),
        ([(20, 1020), (10, 1000), (0, 1010)], None),  # backwards
        ([(20, 1020), (0.5, 1000), (0, 1000.4)], None),  # a little backwards
        ([(20, 1020), (15, 5000), (10, 1010), (0, 1000)], None),  # not in a row
        ([(20, 1020), (10, 1010), (0, 1000), (-1, 5000)], 1000),  # and then a replay
        ([(800, 8000), (400, 7600), (60, 7200)], 7140),  # a long way apart: a minute at most
        ([(800, 8000), (400, 7600), (61, 7200)], None),
    ],
)
def test_three_in_a_row_that_agree(pairs: list[tuple[float, float]], offset_s: float | None) -> None:
    found = heard(pairs)
    assert [offset for _, offset in found] == ([] if offset_s is None else [pytest.approx(offset_s)])


def recent(*pairs: tuple[float, float]) -> pl.DataFrame:
    return reports(*pairs).select(list(RecentReportFrame.types()))


@pytest.mark.parametrize(
    ("prompt", "late", "interval_s"),
    [
        ([], [], None),
        ([(0, 0)], [], None),
        ([(5, 5), (0, 0)], [], 5),
        ([(20, 20), (10, 10), (0, 0)], [(0, 9000), (0, 8000), (0, 7000)], 10),
        ([(0, 0), (0, 3600)], [(0, 3600)], None),  # one replayed report: no interval of an hour
        ([(0, 0)], [(0, 9000), (0, 8900)], None),
        ([(0, 0)], [(0, 9000), (0, 8900), (0, 8700)], 100),
    ],
)
def test_the_report_interval(
    prompt: list[tuple[float, float]], late: list[tuple[float, float]], interval_s: float | None
) -> None:
    found = intervals(recent(*prompt), reports(*late)).get_column("interval").to_list()
    assert found == ([] if interval_s is None else [timedelta(seconds=interval_s)])
