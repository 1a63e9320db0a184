"""Deterministic pseudo-random numbers: a hash of the key, the same on every machine."""

import hashlib
import math
from functools import lru_cache


def draw(*key: str | float) -> float:
    """A number in [0, 1) that depends on the key alone."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


def between(low: float, high: float, *key: str | float) -> float:
    return low + (high - low) * draw(*key)


@lru_cache(maxsize=100_000)
def trait(low: float, high: float, *key: str | int) -> float:
    """A number between `low` and `high`, cached: a constant of a home, or of its day."""
    return between(low, high, *key)


def drift(x: float, *key: str | int) -> float:
    """Smooth noise in [0, 1): interpolated between the draws at the whole numbers around `x`."""
    knot = math.floor(x)
    share = x - knot
    smooth = share * share * (3 - 2 * share)
    return _knot(knot, key) * (1 - smooth) + _knot(knot + 1, key) * smooth


@lru_cache(maxsize=100_000)
def _knot(knot: int, key: tuple[str | int, ...]) -> float:
    return draw(*key, knot)
