"""Token buckets: their arithmetic, their fixed memory, and several processes that share it."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from serving.auth.rate_limit import SET_SIZE, TokenBuckets

BURST = 500
PROCESSES = 3
SPAWN = multiprocessing.get_context("spawn")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def granted(buckets: TokenBuckets, key: str, attempts: int) -> int:
    return sum(buckets.take(key).is_granted for _ in range(attempts))


def test_a_bucket_starts_full_and_refills(clock: Clock) -> None:
    buckets = TokenBuckets(2.0, 3, clock)
    assert granted(buckets, "key", 5) == 3
    assert granted(buckets, "other", 5) == 3
    clock.now_s += 0.5
    assert granted(buckets, "key", 5) == 1
    clock.now_s += 3_600
    assert granted(buckets, "key", 5) == 3


def test_a_grant_tells_what_is_left_and_when_there_is_more(clock: Clock) -> None:
    buckets = TokenBuckets(2.0, 2, clock)
    grants = [buckets.take("key") for _ in range(3)]
    assert [(each.remaining, each.next_in_s, each.full_in_s) for each in grants] == [
        (1, 0.0, 0.5),
        (0, 0.5, 1.0),
        (0, 0.5, 1.0),
    ]


def test_a_clock_that_steps_back_neither_gives_nor_takes_tokens(clock: Clock) -> None:
    buckets = TokenBuckets(1.0, 4, clock)
    assert granted(buckets, "key", 2) == 2
    clock.now_s -= 600
    assert granted(buckets, "key", 5) == 2


def test_processes_that_share_a_file_share_the_buckets(tmp_path: Path, clock: Clock) -> None:
    one, other = (TokenBuckets(1.0, 4, clock, tmp_path / "buckets") for _ in range(2))
    assert (granted(one, "key", 3), granted(other, "key", 3), granted(one, "key", 3)) == (3, 1, 0)
    assert granted(other, "new", 9) == 4


def test_more_keys_than_buckets_take_the_least_recently_used_ones(clock: Clock) -> None:
    buckets = TokenBuckets(1.0, 100, clock, buckets=SET_SIZE)
    for number in range(SET_SIZE):
        clock.now_s += 0.001
        assert granted(buckets, f"key-{number}", 100) == 100
    assert buckets.take("one more").is_granted
    assert granted(buckets, f"key-{SET_SIZE - 1}", 1) == 0, "it was used a moment ago"
    assert granted(buckets, "one more", 100) == 99, "it has a bucket of its own"
    assert granted(buckets, "key-0", 1) == 1, "its bucket was given away"


def _frozen_clock() -> float:
    return 1_000.0


def _take_all(file: Path, results: "multiprocessing.Queue[int]") -> None:
    results.put(granted(TokenBuckets(1.0, BURST, _frozen_clock, file), "key", BURST))


def test_processes_that_compete_get_one_burst_in_all(tmp_path: Path) -> None:
    results: multiprocessing.Queue[int] = SPAWN.Queue()
    takers = [SPAWN.Process(target=_take_all, args=[tmp_path / "buckets", results]) for _ in range(PROCESSES)]
    for each in takers:
        each.start()
    assert sum(results.get(timeout=60) for _ in takers) == BURST
    for each in takers:
        each.join(10)


def test_a_killed_process_does_not_keep_the_lock(tmp_path: Path, clock: Clock) -> None:
    file, holds = tmp_path / "buckets", SPAWN.Event()
    buckets = TokenBuckets(1.0, 4, clock, file)
    assert granted(buckets, "key", 3) == 3
    holder = SPAWN.Process(target=_hold_lock_of_buckets, args=[file, holds])
    holder.start()
    assert holds.wait(60)
    _kill(holder.pid)
    taken: list[int] = []
    taker = threading.Thread(target=lambda: taken.append(granted(buckets, "key", 3)), daemon=True)
    taker.start()
    taker.join(60)
    assert taken == [1], "the lock is free, and what was taken stays so"
    holder.join(10)


def _hold_lock_of_buckets(file: Path, holds: Event) -> None:
    """Take a token, and hold the lock as if in the middle of the next."""
    buckets = TokenBuckets(1.0, 4, _frozen_clock, file)
    with buckets._memory:
        holds.set()
        signal.pause()


def _kill(pid: int | None) -> None:
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
