"""Waiting doubles with each failure in a row, and ends with the first success."""

from jobs.running.backoff import LONGEST_S, Backoff

START_S = 1_000.0


def test_waits_double_up_to_a_minute() -> None:
    backoff = Backoff(2)
    assert [backoff.failed(START_S) for _ in range(20)] == [4, 8, 16, 32, *[LONGEST_S] * 16]
    assert backoff.is_waiting(START_S + 59)
    assert not backoff.is_waiting(START_S + 60)


def test_a_success_ends_it() -> None:
    backoff = Backoff(2)
    backoff.failed(START_S)
    backoff.succeeded()
    assert not backoff.is_waiting(START_S)
    assert backoff.failed(START_S) == 4


def test_a_rare_job_is_not_made_more_frequent() -> None:
    assert Backoff(3600).failed(START_S) == 3600
