"""Advisory locks by name, across all processes that share the primary."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from schemas.db import locks


@contextmanager
def exclusive(engine: Engine, name: str) -> Iterator[None]:
    """Hold the lock of a resource to be changed until the end of the block."""
    with engine.begin() as connection:
        connection.execute(locks.exclusive_within(locks.PRECONDITIONS, name))
        yield
