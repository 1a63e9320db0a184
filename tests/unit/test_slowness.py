"""Which clients are too slow: by what they have moved in a window of ten seconds, 5,120 bytes at least."""

import pytest

from serving.slowness import Moved, is_too_slow

WINDOW_S = 10.0
IDLE, WAITING = False, True


@pytest.mark.parametrize(
    ("who", "taken", "given", "has_waiting", "is_cut"),
    [
        ("sends a body, and stops", 0, 0, IDLE, True),
        ("sends a body byte by byte", 0, 10, IDLE, True),
        ("sends a body over a slow line", 0, 6_000, IDLE, False),
        ("takes nothing of an answer", 0, 0, WAITING, True),
        ("takes an answer byte by byte", 100, 0, WAITING, True),
        ("takes an answer over a slow line", 6_000, 0, WAITING, False),
        ("listens to a live stream's heartbeats", 14, 0, IDLE, False),
        ("is idle", 0, 0, IDLE, True),
    ],
)
def test_who_is_cut(who: str, taken: int, given: int, *, has_waiting: bool, is_cut: bool) -> None:
    before = Moved(1_000, 1_000, has_waiting)
    after = Moved(1_000 + taken, 1_000 + given, has_waiting)
    assert is_too_slow(before, after, WINDOW_S) is is_cut, who


def test_an_answer_that_has_just_begun_is_no_sign() -> None:
    assert not is_too_slow(Moved(1_000, 1_000, IDLE), Moved(1_100, 1_200, WAITING), WINDOW_S)
