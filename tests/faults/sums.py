"""Counts and sums of messages, of the sender and of the database, to be compared."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

K = TypeVar("K", str, tuple[str, str])
Amount = tuple[int, float]
"""How many rows, and the sum of their power in kW."""


@dataclass
class Sums:
    """Distinct messages by VEN, and their load entries by VEN and load.

    Every power is a multiple of 1/64 kW, so that a sum has no rounding and no order: equal means equal.
    """

    vens: dict[str, Amount] = field(default_factory=dict)
    loads: dict[tuple[str, str], Amount] = field(default_factory=dict)

    @property
    def messages(self) -> int:
        return sum(count for count, _ in self.vens.values())

    @property
    def samples(self) -> int:
        return sum(count for count, _ in self.loads.values())

    @property
    def used_power_kw(self) -> float:
        return sum(used_kw for _, used_kw in self.vens.values())

    def add(self, ven_id: str, used_kw: float, loads: dict[str, float]) -> None:
        self.vens[ven_id] = _plus(self.vens.get(ven_id, (0, 0.0)), used_kw)
        for load_id, load_kw in loads.items():
            key = (ven_id, load_id)
            self.loads[key] = _plus(self.loads.get(key, (0, 0.0)), load_kw)

    def differences(self, other: "Sums") -> Iterator[str]:
        """A line for each difference from `other`."""
        yield from _differences("VEN", self.vens, other.vens)
        yield from _differences("load", self.loads, other.loads)


def _differences(what: str, mine: dict[K, Amount], others: dict[K, Amount]) -> Iterator[str]:
    for key in mine.keys() | others.keys():
        if mine.get(key) != others.get(key):
            yield f"{what} {key}: {mine.get(key)} and {others.get(key)}"


def _plus(amount: Amount, power_kw: float) -> Amount:
    return amount[0] + 1, amount[1] + power_kw
