"""What waits between the network and the worker: in order, counted, bounded."""

import threading
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from ingest.decoding.messages import Received
from ingest.receiving import inbox as inboxes
from ingest.receiving.inbox import Inbox

NOW = datetime(2024, 7, 10, tzinfo=UTC)
PLENTY = 1_000_000
LONG_S = 10.0


def message(number: int, size: int = 1, connection: int = 1) -> Received:
    return Received("t", b"x" * size, NOW, (connection, number))


def some(count: int) -> list[Received]:
    return [message(number) for number in range(1, count + 1)]


def test_what_is_taken_is_what_was_put_in_its_order() -> None:
    inbox, messages = Inbox(10), some(5)
    inbox.put(messages[:2])
    inbox.put(messages[2:])
    assert inbox.take(3, PLENTY, 0) + inbox.take(3, PLENTY, 0) == messages


def test_a_size_ends_a_take_after_the_message_that_passes_it() -> None:
    inbox = Inbox(10)
    inbox.put([message(number, size=10) for number in range(5)])
    assert [len(inbox.take(5, size, 0)) for size in (1, 11, 0, 100)] == [1, 2, 0, 2]


def test_room_counts_what_was_taken_until_it_is_released() -> None:
    inbox = Inbox(3)
    inbox.put(some(2))
    rooms = [inbox.has_room]
    inbox.put(some(1))
    rooms.append(inbox.has_room)
    taken = inbox.take(1, PLENTY, 0)
    rooms.append(inbox.has_room)
    inbox.release(taken)
    assert [*rooms, inbox.has_room] == [True, False, False, True]


def test_room_counts_the_bytes_of_what_was_taken_until_it_is_released() -> None:
    inbox = Inbox(3)
    inbox.put([message(1, size=inboxes.MOST_BYTES)])
    taken = inbox.take(1, PLENTY, 0)
    before = inbox.has_room, inbox.is_empty
    inbox.release(taken)
    assert (before, (inbox.has_room, inbox.is_empty)) == ((False, False), (True, True))


def test_what_comes_again_is_dropped_and_the_rest_stays_in_order() -> None:
    inbox = Inbox(10)
    inbox.put([message(1), message(0), message(2), message(3, connection=2)])
    inbox.drop_waiting(lambda each: each.delivery[0] == 1 and each.delivery[1] > 0)
    left = inbox.take(10, PLENTY, 0)
    assert [each.delivery for each in left] == [(1, 0), (2, 3)]
    inbox.release(left)
    assert inbox.is_empty


def test_a_wake_up_is_kept_for_one_take() -> None:
    inbox = Inbox(10)
    inbox.wake()
    assert inbox.take(1, PLENTY, LONG_S) == []
    assert not inbox._is_woken


def test_whoever_waits_is_told() -> None:
    inbox, got = Inbox(10), list[Received]()
    taker = threading.Thread(target=lambda: got.extend(inbox.take(10, PLENTY, LONG_S)))
    taker.start()
    inbox.put(some(3))
    taker.join(LONG_S)
    assert got == some(3)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.lists(st.integers(0, 20), max_size=5)),
        st.tuples(st.just("take"), st.integers(0, 5)),
        st.tuples(st.just("release"), st.none()),
        st.tuples(st.just("drop"), st.integers(0, 20)),
    )
)


@given(STEPS)
def test_whatever_happens_the_counts_are_those_of_what_is_held(steps: list[tuple[str, object]]) -> None:
    inbox = Inbox(100)
    waiting: list[Received] = []
    taken: list[Received] = []
    for step in steps:
        match step:
            case "put", list(sizes):
                new = [message(1, size) for size in sizes]
                inbox.put(new)
                waiting += new
            case "take", int(most):
                got = inbox.take(most, PLENTY, 0)
                assert got == waiting[: len(got)]
                del waiting[: len(got)]
                taken += got
            case "release", _:
                inbox.release(taken)
                taken.clear()
            case "drop", int(size):
                inbox.drop_waiting(lambda each, size=size: len(each.payload) > size)  # type: ignore[misc]
                waiting = [each for each in waiting if len(each.payload) <= size]
        held = waiting + taken
        assert (inbox._held, inbox._held_bytes) == (len(held), sum(len(each.payload) for each in held))


def test_threads_neither_lose_nor_double_anything() -> None:
    inbox, count = Inbox(PLENTY), 3000
    got: list[Received] = []

    def drain() -> None:
        while len(got) < count:
            taken = inbox.take(7, PLENTY, LONG_S)
            got.extend(taken)
            inbox.release(taken)

    taker = threading.Thread(target=drain)
    taker.start()
    for number in range(count):
        inbox.put([message(number)])
        inbox.drop_waiting(lambda _: False)
    taker.join(LONG_S)
    assert [each.delivery[1] for each in got] == list(range(count))
    assert inbox.is_empty


def test_what_is_released_in_any_order_is_acknowledged_in_the_order_of_arrival() -> None:
    inbox, messages = Inbox(10), some(4)
    inbox.put([messages[0], Received("t", b"", NOW, (1, 0)), *messages[1:]])  # one with QoS 0
    assert inbox.release(messages[1:2]) == []
    assert inbox.release(messages[3:]) == []
    assert inbox.release(messages[:1]) == [1, 2]
    assert inbox.release(messages[2:3]) == [3, 4]


def test_a_new_connection_is_owed_nothing_of_the_last_one() -> None:
    inbox, old, new = Inbox(10), some(2), [message(1, connection=2), message(2, connection=2)]
    inbox.put(old)
    inbox.forget_order()
    inbox.put(new)
    assert inbox.release(old) == []
    assert inbox.release(new) == [1, 2]


def test_what_is_put_back_comes_before_all_others_and_is_not_counted_twice() -> None:
    inbox, messages = Inbox(3), some(3)
    inbox.put(messages)
    taken = inbox.take(2, PLENTY, 0)
    inbox.put_back(taken)
    assert inbox.take(3, PLENTY, 0) == messages
    inbox.release(messages)
    assert inbox.is_empty


def test_a_second_waiting_thread_gets_what_the_first_one_left() -> None:
    inbox, takes, done = Inbox(10), list[list[Received]](), threading.Barrier(3, timeout=LONG_S)

    def take_one() -> None:
        takes.append(inbox.take(1, PLENTY, LONG_S))
        done.wait()

    for _ in range(2):
        threading.Thread(target=take_one, daemon=True).start()
    inbox.put(some(2))
    done.wait()
    assert sorted(each[0].delivery for each in takes) == [(1, 1), (1, 2)]
