"""Waiting doubles with each failure in a row, and ends with the first success."""

from datetime import UTC, datetime, timedelta

from jobs.backoff import LONGEST_S, Backoff

NOON = datetime(2024, 7, 10, 12, tzinfo=UTC)


def test_waits_double_up_to_a_minute() -> None:
    backoff = Backoff(2)
    assert [backoff.failed(NOON) for _ in range(20)] == [4, 8, 16, 32, *[LONGEST_S] * 16]
    assert backoff.is_waiting(NOON + timedelta(seconds=59))
    assert not backoff.is_waiting(NOON + timedelta(seconds=60))


def test_a_success_ends_it() -> None:
    backoff = Backoff(2)
    backoff.failed(NOON)
    backoff.succeeded()
    assert not backoff.is_waiting(NOON)
    assert backoff.failed(NOON) == 4


def test_a_rare_job_is_not_made_more_frequent() -> None:
    assert Backoff(3600).failed(NOON) == 3600
