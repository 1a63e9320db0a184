"""Locks by name, of all processes that share the primary."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, func, literal, select

PRECONDITIONS = "preconditions"


@contextmanager
def exclusive(engine: Engine, name: str) -> Iterator[None]:
    """Hold the lock of a resource that is to be changed, to the end of the block."""
    lock = func.pg_advisory_xact_lock(func.hashtext(literal(PRECONDITIONS)), func.hashtext(literal(name)))
    with engine.begin() as connection:
        connection.execute(select(lock))
        yield
