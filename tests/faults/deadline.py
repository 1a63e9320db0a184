"""Polling for a condition without a signal, up to a deadline."""

import time
from collections.abc import Callable

PAUSE_S = 0.02


def until(
    condition: Callable[[], object], within_s: float, missing: Callable[[], str], pause_s: float = PAUSE_S
) -> None:
    """Poll until a condition is true; fail with the message `missing` when it is not in time."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:g} s: {missing()}"
        time.sleep(pause_s)
