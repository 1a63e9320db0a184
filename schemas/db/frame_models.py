"""pandera for Polars, without pandas.

`import pandera` imports pandas if it is installed, which costs each program 70 MB. No table needs it, so it
is hidden during the import: pandera then behaves as in an environment without pandas.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

import polars as pl  # before pandas is hidden: it looks for it, to offer `to_pandas`


class HiddenModule:
    """A finder that behaves as if a module were not installed."""

    def __init__(self, name: str) -> None:
        self._name = name

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == self._name:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


@contextmanager
def hidden(name: str) -> Iterator[None]:
    """Hide a module from imports within a block, unless it is imported already."""
    finder = HiddenModule(name)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


with hidden("pandas"):
    import pandera.polars as pa

__all__ = ["DataType", "pa"]

DataType = pl.DataType | type[pl.DataType]
"""A type of Polars: `pl.List(pl.Date)`, or the class, such as `pl.String`."""
