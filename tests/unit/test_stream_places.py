"""Places of live streams that processes share; those of a killed one are given back."""

import multiprocessing
import signal
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from serving.errors import TooManyStreamsError
from serving.live.places import StreamPlaces

SPAWN = multiprocessing.get_context("spawn")


def entered(places: StreamPlaces, number: int, holder: str | None = None) -> list[int]:
    return [places.enter(holder) for _ in range(number)]


def test_processes_share_the_places(tmp_path: Path) -> None:
    one, other = (StreamPlaces(4, tmp_path) for _ in range(2))
    [first, *_] = entered(one, 3)
    entered(other, 1)
    for each in (one, other):
        with pytest.raises(TooManyStreamsError, match="There are 4 live streams"):
            each.enter(None)
    one.leave(first)
    assert other.enter(None) == first


def test_a_holder_has_three_quarters_of_all_processes(tmp_path: Path) -> None:
    one, other = (StreamPlaces(4, tmp_path) for _ in range(2))
    [first, _] = entered(one, 2, "greedy")
    entered(other, 1, "greedy")
    with pytest.raises(TooManyStreamsError, match="This key has 3 of 4"):
        one.enter("greedy")
    one.leave(first)
    entered(other, 1, "greedy")
    entered(one, 1, "other")


def test_there_may_be_no_places_at_all() -> None:
    with pytest.raises(TooManyStreamsError, match="There are 0 live streams"):
        StreamPlaces(0).enter(None)


def _enter_and_wait(directory: Path, number: int, has_entered: Event) -> None:
    entered(StreamPlaces(4, directory), number, "greedy")
    has_entered.set()
    signal.pause()


@pytest.mark.parametrize("is_replaced", [True, False])
def test_places_of_a_killed_process_are_given_back(tmp_path: Path, *, is_replaced: bool) -> None:
    """By the process that replaces it, or by one that finds no place."""
    survivor, has_entered = StreamPlaces(4, tmp_path), SPAWN.Event()
    entered(survivor, 1, "greedy")
    killed = SPAWN.Process(target=_enter_and_wait, args=[tmp_path, 2, has_entered])
    killed.start()
    assert has_entered.wait(60)
    with pytest.raises(TooManyStreamsError):
        survivor.enter("greedy")
    killed.kill()
    killed.join(10)
    heir = StreamPlaces(4, tmp_path) if is_replaced else survivor
    entered(heir, 2, "greedy")
    entered(survivor, 1, "other")
    with pytest.raises(TooManyStreamsError):
        heir.enter("other")
