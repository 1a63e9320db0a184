"""The life of a command: it only goes forward, is tried a bounded number of times, and always ends."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.commands.states import REFUSED, Due, Patience, given_up, interrupted, is_topic_level, published
from ingest.settings import IngestSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PATIENCE = Patience(timedelta(seconds=5), timedelta(hours=1), 10)
RANK = {"pending": 0, "sent": 1, "expired": 2, "failed": 2}

patiences = st.builds(
    Patience,
    first=st.floats(0.001, 3600).map(lambda s: timedelta(seconds=s)),
    longest=st.floats(1, 7200).map(lambda s: timedelta(seconds=s)),
    most_attempts=st.integers(1, 40),
)
FORGIVABLE = 0x97
attempts = st.lists(st.sampled_from((0, 0x10, FORGIVABLE, 0x87, None)), max_size=60)
"""How the broker answers each attempt: a reason code, or not at all."""


def due(worth: timedelta = timedelta(hours=1)) -> Due:
    return Due("ven-1", "c-1", "ping", "{}", "pending", 0, NOW, NOW, NOW + worth)


def attempt(command: Due, code: int | None, at: datetime, patience: Patience) -> Due:
    if code is None:
        return interrupted(command, at, patience, is_alone=False)
    return published(command, code, at, patience)


def live(command: Due, codes: list[int | None], patience: Patience) -> list[Due]:
    """Every state of a command that a dispatcher takes in hand exactly when it is due."""
    lived = [command]
    for code in (*codes, *[0] * (patience.most_attempts + 1)):
        now = lived[-1].next_attempt_at
        end = given_up(lived[-1], now, patience)
        lived.append(end or attempt(lived[-1], code, now, patience))
        if lived[-1].status in {"failed", "expired"}:
            return lived
    return lived


def test_a_wish_that_is_worth_a_day_is_tried_for_a_day() -> None:
    """With fewer attempts, a VEN that was away overnight was never told how a load of it had been set."""
    attempts_by_default = IngestSettings.model_fields["command_attempts"].default
    tried_for = sum((PATIENCE.after(number) for number in range(1, attempts_by_default + 1)), timedelta())
    assert tried_for > timedelta(days=1)


@given(attempts, patiences, st.floats(0.01, 1e6).map(lambda s: timedelta(seconds=s)))
def test_every_command_ends_and_none_goes_back(
    codes: list[int | None], patience: Patience, worth: timedelta
) -> None:
    lived = live(due(worth), codes, patience)
    assert lived[-1].status in {"failed", "expired"}, "without an answer"
    assert lived[-1].error
    assert lived[-1].attempts <= patience.most_attempts
    for before, after in pairwise(lived):
        assert RANK[before.status] <= RANK[after.status]
        assert 0 <= after.attempts - before.attempts <= 1
        assert before.next_attempt_at <= after.next_attempt_at <= after.expires_at
        assert before.sent_at in {None, after.sent_at}, "the first time stands"


@given(attempts, patiences)
def test_sent_means_confirmed_once(codes: list[int | None], patience: Patience) -> None:
    for state in live(due(), codes, patience):
        if state.status == "sent":
            assert state.sent_at is not None
        if state.status == "pending":
            assert state.sent_at is None


@given(patiences, st.integers(1, 100))
def test_each_wait_is_no_shorter_than_the_one_before(patience: Patience, attempts: int) -> None:
    assert patience.after(attempts) <= patience.after(attempts + 1) <= patience.longest


def test_waits_double() -> None:
    assert [PATIENCE.after(n).total_seconds() for n in (1, 2, 3, 10, 11, 99)] == [5, 10, 20, 2560, 3600, 3600]


@pytest.mark.parametrize("code", REFUSED)
def test_what_the_broker_refuses_for_good_has_failed(code: int) -> None:
    assert published(due(), code, NOW, PATIENCE).status == "failed"


def test_what_the_broker_refuses_for_now_is_tried_again() -> None:
    tried = published(due(), FORGIVABLE, NOW, PATIENCE)
    assert (tried.status, tried.attempts, tried.sent_at) == ("pending", 1, None)
    assert tried.next_attempt_at == NOW + timedelta(seconds=5)
    assert "151" in str(tried.error)


def test_time_is_over_at_the_very_instant() -> None:
    command = due()
    assert given_up(command, command.expires_at - timedelta(microseconds=1), PATIENCE) is None
    end = given_up(command, command.expires_at, PATIENCE)
    assert end is not None
    assert (end.status, end.error) == ("expired", "the broker could not be reached in time")


@pytest.mark.parametrize("ven_id", ["a/b", "+", "a#", "/"])
def test_an_id_that_no_topic_can_have_fails_instead_of_breaking_the_connection(ven_id: str) -> None:
    assert not is_topic_level(ven_id)
    command = Due(ven_id, "c", "ping", "{}", "pending", 0, NOW, NOW, NOW + timedelta(hours=1))
    end = given_up(command, NOW, PATIENCE)
    assert end is not None
    assert end.status == "failed"
