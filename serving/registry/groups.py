"""Reads and writes groups of VENs; `schemas.demand_response.groups` defines their members."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine

from schemas.api.groups import Group, GroupCreate, GroupUpdate
from schemas.db.queries import Query
from serving.db.reading import in_blocks, snapshot
from serving.errors import ConflictError, NotFoundError, no_group
from serving.events.rules import require_free_path
from serving.events.targets import require_known_vens
from serving.fleet import group_queries as queries
from serving.fleet.group_queries import GroupRow
from serving.page import Page
from serving.registry.writer import changed_fields

LISTS = ("ven_ids", "load_types", "regions", "tags")


class GroupReader:
    """Reads groups. A list is an iterator that holds a connection until it ends."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def all(self, page: Page) -> Iterator[Group]:
        with snapshot(self._engine) as connection:
            yield from map(_group, in_blocks(connection, queries.all_groups(page)))

    def one(self, group_id: str) -> Group:
        """Return one group.

        Raises:
            NotFoundError: there is none with that id.
        """
        with self._engine.connect() as connection:
            return _group(_row(connection, group_id))


class GroupWriter:
    """Writes groups. Events that target one follow its current members; the jobs do that."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def add(self, request: GroupCreate) -> Group:
        """Create a group.

        Raises:
            InvalidRequestError: it names an unknown VEN, or its path would be unreachable.
            ConflictError: its id exists.
        """
        require_free_path(request.id, ())
        lists = {name: _sorted(getattr(request, name)) for name in LISTS}
        group_id = request.id or f"grp-{uuid.uuid4().hex}"
        values = {"group_id": group_id, "name": request.name, **lists, "created_at": self._clock()}
        with self._engine.begin() as connection:
            require_known_vens(connection, lists["ven_ids"])
            if connection.execute(queries.add_group(values)).first() is None:
                raise ConflictError(f"There is a group {group_id!r} already: change it with PATCH.")
            return _group(_row(connection, group_id))

    def change(self, group_id: str, request: GroupUpdate) -> Group:
        """Change a group; events that target it follow.

        Raises:
            NotFoundError: there is none with that id.
            InvalidRequestError: it would name an unknown VEN.
        """
        with self._engine.begin() as connection:
            shown = _group(_row(connection, group_id, queries.lock_group(group_id)))
            values = _changes(request, shown)
            require_known_vens(connection, sorted({*values.get("ven_ids", ())} - {*shown.ven_ids}))
            if values:
                connection.execute(queries.change_group(group_id, values))
            return _group(_row(connection, group_id))

    def remove(self, group_id: str) -> None:
        """Delete a group; its VENs stay.

        Raises:
            NotFoundError: there is none with that id.
            ConflictError: an event that is not over targets it.
        """
        with self._engine.begin() as connection:
            connection.execute(queries.LOCK_TARGETS)
            _row(connection, group_id, queries.lock_group(group_id))
            event_id = connection.execute(queries.event_that_aims_at(group_id)).scalar()
            if event_id is not None:
                raise ConflictError(
                    f"Event {event_id!r} aims at group {group_id!r}: cancel it, or change its targets first."
                )
            connection.execute(queries.remove_group(group_id))


def _changes(request: GroupUpdate, shown: Group) -> Mapping[str, Any]:
    changes = changed_fields(request, shown, ("name", *LISTS))
    sorted_lists = {name: _sorted(value) for name, value in changes.items() if name in LISTS}
    return {**changes, **sorted_lists}


def _sorted(texts: Sequence[str] | None) -> list[str]:
    return sorted(set(texts or ()))


def _row(connection: Connection, group_id: str, query: Query[GroupRow] | None = None) -> GroupRow:
    row = (query or queries.group(group_id)).first(connection)
    if row is None:
        raise NotFoundError(no_group(group_id))
    return row


def _group(row: GroupRow) -> Group:
    return Group(
        id=row.group_id,
        name=row.name or row.group_id,
        ven_ids=row.ven_ids,
        load_types=row.load_types,
        regions=row.regions,
        tags=row.tags,
        created_at=row.created_at,
    )
