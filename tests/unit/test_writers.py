"""What the receiving process and its writers send each other, and which messages a writer has in hand."""

import random
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from ingest.decoding.messages import Received
from ingest.storing.store import Stored
from ingest.writers import wire
from ingest.writers.suspects import ENDS_ALONE, ENDS_TOGETHER, Suspects
from ingest.writers.unacknowledged import UnacknowledgedQueue
from ingest.writers.wire import Acknowledged, Alive, CommitFailed, Committed, FrameStream, Report
from ingest.writers.writer import FIRST_PAUSE_S, LONGEST_PAUSE_S, pause_s

NOW = datetime(2026, 3, 1, 12, 0, 0, 123_456, tzinfo=UTC)
STORED = Stored(3, 2, 16, 0, 0, 0, 1, {"conflict": 1})
REPORTS: list[Report] = [Acknowledged(7), Committed(STORED, 0.25, NOW), Committed(STORED, 1, None)]
REPORTS += [CommitFailed(), Alive()]
received = st.builds(
    Received,
    st.text(),
    st.binary(max_size=300),
    st.just(NOW),
    st.tuples(st.integers(0, 9), st.integers(0, 65_535)),
    st.booleans(),
)


@given(st.lists(st.lists(received, max_size=5), max_size=5), st.integers())
def test_messages_survive_any_division_of_their_bytes(sent: list[list[Received]], seed: int) -> None:
    data, stream, arrived = b"".join(map(wire.encode_messages, sent)), FrameStream(), list[list[Received]]()
    draw = random.Random(seed)
    while data:
        size = draw.randint(1, len(data))
        arrived += map(wire.decode_messages, stream.feed(data[:size]))
        data = data[size:]
    assert arrived == sent


def test_reports_survive() -> None:
    frames = FrameStream().feed(b"".join(map(wire.encode_report, REPORTS)))
    assert list(map(wire.decode_report, frames)) == REPORTS


def numbered(*numbers: int) -> list[Received]:
    return [Received("t", b"", NOW, (1, number)) for number in numbers]


def test_in_hand_is_bounded_and_acknowledged_in_order() -> None:
    unacknowledged = UnacknowledgedQueue(3)
    unacknowledged.add(numbered(1, 2, 3))
    unacknowledged.mark_sent(2)
    assert unacknowledged.wait_for_room(0) == 0
    assert not unacknowledged.wait_until_acknowledged(0)
    assert unacknowledged.acknowledged(1) == numbered(1)
    assert unacknowledged.wait_for_room(0) == 1
    assert unacknowledged.acknowledged(5) == numbered(2), "no more than was sent"
    assert unacknowledged.wait_until_acknowledged(0)
    unacknowledged.add(numbered(4))
    unacknowledged.mark_sent(1)
    assert unacknowledged.rest() == (numbered(3), numbered(4))
    unacknowledged.close()
    assert unacknowledged.wait_for_room(0) == 0


def test_a_suspect_is_sent_alone_then_rejected() -> None:
    suspects, messages = Suspects(), numbered(1, 2, 3)
    assert list(suspects.portions(messages)) == [(messages, False)]
    for _ in range(ENDS_TOGETHER):
        assert suspects.ended_with(messages[1:2]) == []
    expected = [(messages[:1], False), (messages[1:2], True), (messages[2:], False)]
    assert list(suspects.portions(messages)) == expected
    for _ in range(ENDS_ALONE - 1):
        assert suspects.ended_with(messages[1:2]) == []
    assert suspects.ended_with(messages[1:2]) == messages[1:2]
    suspects.cleared(messages)
    assert list(suspects.portions(messages)) == [(messages, False)]


def test_pauses_grow_up_to_a_limit() -> None:
    assert pause_s(1) == FIRST_PAUSE_S
    assert pause_s(2) == 2 * FIRST_PAUSE_S
    assert pause_s(100) == LONGEST_PAUSE_S
