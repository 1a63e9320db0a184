"""The life of a command: it only goes forward, is tried a bounded number of times, and always ends."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ingest.commands.states import (
    AWAY,
    CLOSED_AT,
    LONGEST_LOOK,
    MOST_INTERRUPTIONS,
    NO_SUBSCRIBER,
    REFUSED,
    Due,
    RetryPolicy,
    given_up,
    interrupted,
    is_topic_level,
    postponed,
    published,
)
from ingest.settings import IngestSettings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
POLICY = RetryPolicy(timedelta(seconds=5), timedelta(hours=1), 10)
RANK = {"pending": 0, "sent": 1, "expired": 2, "failed": 2}

policies = st.builds(
    RetryPolicy,
    first=st.floats(0.001, 3600).map(lambda s: timedelta(seconds=s)),
    longest=st.floats(1, 7200).map(lambda s: timedelta(seconds=s)),
    most_attempts=st.integers(1, 40),
)
FORGIVABLE = 0x97
attempts = st.lists(st.sampled_from((0, 0x10, FORGIVABLE, 0x87, None)), max_size=60)
"""How the broker answers each attempt: a reason code, or not at all."""


def due(worth: timedelta = timedelta(hours=1)) -> Due:
    return Due("ven-1", "c-1", "ping", "{}", "pending", 0, NOW, NOW, NOW + worth)


def attempt(command: Due, code: int | None, at: datetime, policy: RetryPolicy) -> Due:
    if code is None:
        return interrupted(command, at, policy, is_alone=False)
    return published(command, code, at, policy)


def live(command: Due, codes: list[int | None], policy: RetryPolicy) -> list[Due]:
    """Every state of a command that a dispatcher takes in hand exactly when it is due."""
    lived = [command]
    for code in (*codes, *[0] * (policy.most_attempts + 1)):
        now = lived[-1].next_attempt_at
        end = given_up(lived[-1], now, policy)
        lived.append(end or attempt(lived[-1], code, now, policy))
        if lived[-1].status in {"failed", "expired"}:
            return lived
    return lived


def test_a_wish_that_is_worth_a_day_is_tried_for_a_day() -> None:
    """With fewer attempts, a VEN that was offline overnight never got the setting of its load."""
    attempts_by_default = IngestSettings.model_fields["command_attempts"].default
    tried_for = sum((POLICY.after(number) for number in range(1, attempts_by_default + 1)), timedelta())
    assert tried_for > timedelta(days=1)


@given(attempts, policies, st.floats(0.01, 1e6).map(lambda s: timedelta(seconds=s)))
def test_every_command_ends_and_none_goes_back(
    codes: list[int | None], policy: RetryPolicy, worth: timedelta
) -> None:
    lived = live(due(worth), codes, policy)
    assert lived[-1].status in {"failed", "expired"}, "without an answer"
    assert lived[-1].error
    assert lived[-1].attempts <= policy.most_attempts
    for before, after in pairwise(lived):
        assert RANK[before.status] <= RANK[after.status]
        assert 0 <= after.attempts - before.attempts <= 1
        assert before.next_attempt_at <= after.next_attempt_at <= after.expires_at
        assert before.sent_at in {None, after.sent_at}, "the first time stands"


@given(attempts, policies)
def test_sent_means_confirmed_once(codes: list[int | None], policy: RetryPolicy) -> None:
    for state in live(due(), codes, policy):
        if state.status == "sent":
            assert state.sent_at is not None
        if state.status == "pending":
            assert state.sent_at is None


@given(policies, st.integers(1, 100))
def test_each_wait_is_no_shorter_than_the_one_before(policy: RetryPolicy, attempts: int) -> None:
    assert policy.after(attempts) <= policy.after(attempts + 1) <= policy.longest


def test_waits_double() -> None:
    assert [POLICY.after(n).total_seconds() for n in (1, 2, 3, 10, 11, 99)] == [5, 10, 20, 2560, 3600, 3600]


@pytest.mark.parametrize("code", REFUSED)
def test_what_the_broker_refuses_for_good_has_failed(code: int) -> None:
    assert published(due(), code, NOW, POLICY).status == "failed"


def test_what_the_broker_refuses_for_now_is_tried_again() -> None:
    tried = published(due(), FORGIVABLE, NOW, POLICY)
    assert (tried.status, tried.attempts, tried.sent_at) == ("pending", 1, None)
    assert tried.next_attempt_at == NOW + timedelta(seconds=5)
    assert "151" in str(tried.error)


def test_time_is_over_at_the_very_instant() -> None:
    command = due()
    assert given_up(command, command.expires_at - timedelta(microseconds=1), POLICY) is None
    end = given_up(command, command.expires_at, POLICY)
    assert end is not None
    assert (end.status, end.error) == ("expired", "the broker could not be reached in time")


@pytest.mark.parametrize("ven_id", ["a/b", "+", "a#", "/"])
def test_an_id_that_no_topic_can_have_fails_instead_of_breaking_the_connection(ven_id: str) -> None:
    assert not is_topic_level(ven_id)
    command = Due(ven_id, "c", "ping", "{}", "pending", 0, NOW, NOW, NOW + timedelta(hours=1))
    end = given_up(command, NOW, POLICY)
    assert end is not None
    assert end.status == "failed"


def s(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def look(command: Due, at_s: float, *, has_expiry: bool = True) -> Due | None:
    return postponed(command, NOW + s(at_s), POLICY, has_expiry=has_expiry)


def test_no_attempt_follows_one_that_the_broker_may_still_hold() -> None:
    """A VEN that was away for 22 s once got each of the attempts, the expired ones too."""
    sent = published(due(), 0, NOW, POLICY)
    assert sent.queued_since == NOW
    for heard_s in (None, -1.0, 4.9):
        heard_at = None if heard_s is None else NOW + s(heard_s)
        waiting = look(replace(sent, heard_at=heard_at), 5)
        assert waiting is not None
        assert waiting.next_attempt_at == NOW + s(10)
        assert (waiting.attempts, waiting.queued_since) == (1, NOW)


def test_a_ven_that_has_been_heard_has_time_to_answer_before_the_next_attempt() -> None:
    sent = replace(published(due(), 0, NOW, POLICY), heard_at=NOW + s(5))
    released = look(sent, 22)
    assert released is not None
    assert (released.queued_since, released.next_attempt_at) == (None, NOW + s(27))
    assert look(released, 27) is None, "now it is sent again"


def test_a_message_that_went_nowhere_is_sent_again_by_time_alone() -> None:
    sent = published(due(), NO_SUBSCRIBER, NOW, POLICY)
    assert (sent.status, sent.queued_since, sent.next_attempt_at) == ("sent", None, NOW + s(5))
    assert look(sent, 5) is None


def test_looks_grow_rare_and_end_with_the_command() -> None:
    sent = published(due(s(1000)), 0, NOW, POLICY)
    for at_s, next_s in ((5, 10), (10, 20), (20, 40), (40, 80), (80, 140), (140, 200), (990, 1000)):
        waiting = look(sent, at_s)
        assert waiting is not None
        assert waiting.next_attempt_at == NOW + s(next_s)
    assert s(60) == LONGEST_LOOK


def test_without_expiry_nothing_is_sent_to_a_ven_that_is_offline() -> None:
    command = replace(due(), is_offline=True)
    assert look(command, 0) is None
    waiting = look(command, 0, has_expiry=False)
    assert waiting is not None
    assert (waiting.attempts, waiting.next_attempt_at, waiting.error) == (0, NOW + s(5), AWAY)
    end = given_up(waiting, NOW + timedelta(hours=1), POLICY)
    assert end is not None
    assert (end.status, end.error) == ("expired", AWAY)
    assert look(replace(waiting, is_offline=False), 5, has_expiry=False) is None


def test_a_command_that_connections_end_at_fails_and_says_why() -> None:
    command = due()
    for number in range(1, MOST_INTERRUPTIONS + 1):
        assert command.status == "pending"
        command = interrupted(command, command.next_attempt_at, POLICY, is_alone=True)
        assert (command.attempts, command.interruptions) == (number, number)
    assert (command.status, command.error) == ("failed", CLOSED_AT)


def test_only_interruptions_in_a_row_count() -> None:
    command = due()
    for _ in range(MOST_INTERRUPTIONS - 1):
        command = interrupted(command, NOW, POLICY, is_alone=True)
    command = published(command, FORGIVABLE, NOW, POLICY)
    assert command.interruptions == 0
    assert interrupted(command, NOW, POLICY, is_alone=True).status == "pending"
    assert interrupted(command, NOW, POLICY, is_alone=False).interruptions == 0
