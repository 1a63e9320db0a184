"""Streamed bodies, block by block: a small block first, so that the first byte comes soon."""

from collections.abc import Iterator
from itertools import islice
from typing import Self, TypeVar

Entry = TypeVar("Entry")

AT_FIRST = 1_001
"""Entries of a list or history that are read, and made ready to send, before the answer begins: until
then, what fails fails as an error. An answer of fewer, of a thousand, is sent whole, with a tag.
"""


class Blocks:
    """A body, and what it is made from: who ends one ends both, however far it has got.

    That matters where a connection to the database is held. A generator that has not begun does not hear
    of its end, and one in a cycle of references hears of it when Python happens to look for cycles.

    What fails after its first block ends in `broken`: the server ends it like any other, so that nothing but
    the bytes themselves can tell that the rest is missing.
    """

    def __init__(self, made: Iterator[bytes], source: object, broken: bytes = b"") -> None:
        self._made = made
        self._source = source
        self._broken = broken
        self._failure: Exception | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        if self._failure is not None:
            raise self._failure
        try:
            return next(self._made)
        except StopIteration:
            raise
        except Exception as failure:
            if not self._broken:
                raise
            self._failure = failure
            return self._broken

    def close(self) -> None:
        for each in (self._made, self._source):
            if close := getattr(each, "close", None):
                close()


def growing(entries: Iterator[Entry], first: int, most: int) -> Iterator[list[Entry]]:
    """Entries in lists, each twice as long as the one before, up to a length."""
    size = min(first, most)
    while block := list(islice(entries, size)):
        yield block
        size = min(2 * size, most)
