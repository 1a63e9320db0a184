"""Distributes the tables that grow over the workers of a Citus cluster, by VEN."""

from collections.abc import Sequence

from sqlalchemy import Connection, Engine

from jobs.queries.storage import distributing as queries
from jobs.queries.storage.distributing import Placement
from jobs.running.admission import admit

BY_HASH = "h"


class CannotDistributeError(Exception):
    """The tables cannot be distributed; the message says why, and what to do."""


def distribute(engine: Engine, *, with_rows: bool = False) -> list[str]:
    """Distribute the tables that grow, as far as they are not; returns the names of those that it has.

    One transaction, for which ingest and jobs wait: all tables or none.

    Args:
        engine: of the coordinator.
        with_rows: copy the rows of tables that have some, which takes as long as to load them.

    Raises:
        CannotDistributeError: there is no cluster, or its tables are in a state that this does not know.
        WrongRevisionError: the schema is not the one that this program was written for.
    """
    with engine.begin() as connection:
        connection.execute(queries.WITHOUT_LIMIT)
        connection.execute(queries.HOLD_ALL)
        admit(connection)
        _require_cluster(connection)
        connection.execute(queries.ONE_CONNECTION_A_WORKER)
        local = _local_tables(connection)
        filled = [name for name in local if connection.execute(queries.has_rows(name)).scalar_one()]
        _require_ready(connection, filled, with_rows=with_rows)
        for name in local:
            connection.execute(queries.distribute(name, _beside(name)))
        for name in filled:
            connection.execute(queries.drop_local_rows(name))
        connection.execute(queries.STORED_BYTES)
    return local


def _require_cluster(connection: Connection) -> None:
    if not connection.execute(queries.HAS_EXTENSION).scalar_one():
        raise CannotDistributeError(
            "this database has no extension citus: on the coordinator and on each worker create a database of"
            " this name and CREATE EXTENSION citus in it; then, on the coordinator, SELECT"
            " citus_set_coordinator_host(...) and SELECT citus_add_node(...) for each worker"
        )
    if not connection.execute(queries.WORKERS).scalar_one():
        raise CannotDistributeError(
            "no node of this cluster takes shards: SELECT citus_add_node(host, port) for each worker"
        )


def _local_tables(connection: Connection) -> list[str]:
    """Tables that are still to be distributed."""
    names = [table.name for table in queries.GROWING]
    found = [Placement(*row) for row in connection.execute(queries.PLACEMENTS, {"names": names})]
    by_ven = (BY_HASH, queries.COLUMN)
    strange = [each for each in found if each.method and (each.method, each.column) != by_ven]
    if strange:
        states = ", ".join(f"{each.name} (method {each.method}, column {each.column})" for each in strange)
        raise CannotDistributeError(
            f"Citus keeps tables otherwise than by {queries.COLUMN}: {states}. SELECT"
            " undistribute_table(...) first"
        )
    return [each.name for each in found if each.method is None]


def _require_ready(connection: Connection, filled: Sequence[str], *, with_rows: bool) -> None:
    if targets := connection.execute(queries.MOVES).scalars().all():
        raise CannotDistributeError(
            f"rows are being moved to {', '.join(targets)}: run `python -m jobs run partitions` until it has"
            " nothing left to do"
        )
    if filled and not with_rows:
        raise CannotDistributeError(
            f"there are rows in {', '.join(filled)}: --with-rows copies them to the workers in one"
            " transaction, for which ingest and jobs wait"
        )


def _beside(name: str) -> str | None:
    first = queries.GROWING[0].name
    return None if name == first else first
