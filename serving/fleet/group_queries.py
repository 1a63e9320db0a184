"""The SQL that reads and changes groups of VENs."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Delete, Select, Update, delete, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.sql.dml import ReturningInsert

from schemas.db import locks
from schemas.db.queries import Query, Relation, fields_of
from schemas.tables.events import TO_COME, events
from schemas.tables.registry import groups
from serving.page import Page

LOCK_TARGETS = locks.exclusive(locks.NEW_EVENT)
"""The lock that prevents new events and changed targets to the end of the transaction."""


class GroupRow(NamedTuple):
    """A group: its id and name, and what its members have in common."""

    group_id: str
    name: str | None
    ven_ids: list[str]
    load_types: list[str]
    regions: list[str]
    tags: list[str]
    created_at: datetime


def all_groups(page: Page) -> Query[GroupRow]:
    query = _groups().order_by(groups.c.group_id).limit(page.limit)
    return Query(GroupRow, query if page.after is None else query.where(groups.c.group_id > page.after))


def group(group_id: str) -> Query[GroupRow]:
    return Query(GroupRow, _groups().where(groups.c.group_id == group_id))


def lock_group(group_id: str) -> Query[GroupRow]:
    return Query(GroupRow, group(group_id).statement.with_for_update())


def _groups() -> Relation:
    return select(*fields_of(GroupRow, groups))


def add_group(values: Mapping[str, object]) -> ReturningInsert[str]:
    """Insert a group; returns no row if the id exists."""
    return insert(groups).values(**values).on_conflict_do_nothing().returning(groups.c.group_id)


def change_group(group_id: str, values: Mapping[str, object]) -> Update:
    return update(groups).where(groups.c.group_id == group_id).values(**values)


def event_that_aims_at(group_id: str) -> Select[str]:
    """Select an event that is scheduled or runs, and targets a group."""
    aims = events.c.group_ids.cast(JSONB).has_key(group_id)
    return (
        select(events.c.event_id)
        .where(events.c.status.in_(TO_COME), events.c.ended_at.is_(None), aims)
        .limit(1)
    )


def remove_group(group_id: str) -> Delete:
    return delete(groups).where(groups.c.group_id == group_id)
