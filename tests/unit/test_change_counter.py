"""Cached responses and changes by other processes of the same server."""

import threading
from pathlib import Path

from serving.cache.generation import ChangeCounter
from serving.cache.response_cache import ResponseCache


def cache(file: Path, content: list[bytes]) -> ResponseCache:
    made = ResponseCache({"list": lambda: content[-1]}, lambda: 0, changes=ChangeCounter(file))
    made.refresh()
    return made


def body(of: ResponseCache) -> bytes:
    response = of.get("list")
    assert response is not None
    return response.body


def test_a_change_by_one_process_ends_the_responses_of_all(tmp_path: Path) -> None:
    """With two workers, a client read a list from before its own PATCH."""
    content = [b"before"]
    one, other = (cache(tmp_path / "changes", content) for _ in range(2))
    assert (body(one), body(other)) == (b"before", b"before")
    content.append(b"after")
    assert other.peek("list") is not None
    one.clear()
    assert other.peek("list") is None
    assert (body(one), body(other)) == (b"after", b"after")


def test_a_response_that_was_read_before_a_change_is_not_kept(tmp_path: Path) -> None:
    """Its building may end after the change."""
    is_reading, may_go_on = threading.Event(), threading.Event()
    content = [b"before"]

    def slow() -> bytes:
        read = content[-1]
        is_reading.set()
        assert may_go_on.wait(10)
        return read

    made = ResponseCache({"list": slow}, lambda: 0, changes=ChangeCounter(tmp_path / "changes"))
    made.refresh()
    reader = threading.Thread(target=made.get, args=["list"])
    reader.start()
    assert is_reading.wait(10)
    content.append(b"after")
    made.clear()
    may_go_on.set()
    reader.join(10)
    assert made.peek("list") is None
    assert body(made) == b"after"


def test_without_a_file_it_is_of_one_process() -> None:
    one, other = ChangeCounter(), ChangeCounter()
    one.increment()
    assert (one.value, other.value) == (1, 0)


def test_processes_count_one_by_one(tmp_path: Path) -> None:
    counters = [ChangeCounter(tmp_path / "changes") for _ in range(4)]

    def count(counter: ChangeCounter) -> None:
        for _ in range(500):
            counter.increment()

    threads = [threading.Thread(target=count, args=[counter]) for counter in counters]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert {counter.value for counter in counters} == {2_000}
