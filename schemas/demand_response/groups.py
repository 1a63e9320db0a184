"""Members of groups, and targets of events: one definition for serving and jobs, as SQL.

A VEN is a member of a group that names it, or if it matches all attributes of the group: it has a load of any
of the `load_types`, is in any of the `regions`, and has each of the `tags`. A group without attributes has
only the VENs that it names.

Membership is always current, whatever time a request is about. It includes retired VENs: readers leave them
out where the network's figures do, so that a group of all VENs equals the network.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol, Self

import msgspec
from msgspec import Struct
from sqlalchemy import (
    ARRAY,
    CTE,
    JSON,
    ColumnElement,
    Select,
    Text,
    and_,
    any_,
    cast,
    func,
    literal,
    or_,
    select,
    union,
)
from sqlalchemy.sql.elements import CollectionAggregate

from schemas.devices.load_values import effective, is_gone, with_settings
from schemas.tables.events import events
from schemas.tables.registry import groups, vens
from schemas.tables.snapshots import load_snapshots, ven_snapshots

UNKNOWN_TYPE = "unknown"
"""The shown type of a load without one."""

GroupCondition = ColumnElement[bool]


class Targeted(Protocol):
    """A stored or planned event with its targets."""

    @property
    def ven_ids(self) -> Sequence[str] | None: ...
    @property
    def group_ids(self) -> Sequence[str] | None: ...
    @property
    def load_types(self) -> Sequence[str] | None: ...


class Targets(Struct, frozen=True):
    """The targets of an event: VENs that it names and members of groups; without either all VENs.

    With `load_types` only VENs that have such a load, and only those loads.
    """

    ven_ids: Sequence[str] | None = None
    group_ids: Sequence[str] | None = None
    load_types: Sequence[str] | None = None

    @classmethod
    def of(cls, event: Targeted) -> Self:
        return cls(event.ven_ids, event.group_ids, event.load_types)

    @property
    def is_everybody(self) -> bool:
        return self.ven_ids is None and self.group_ids is None and self.load_types is None


OneOf = CollectionAggregate[bool]
"""The right side of `=`: ANY of values."""


def members_of(group_ids: Sequence[str], gone_after: timedelta | None) -> Select[str]:
    """Select members of any of the groups: `ven_id`."""
    return members(groups.c.group_id.in_(group_ids), gone_after)


def members(of_groups: GroupCondition, gone_after: timedelta | None) -> Select[str]:
    """Select members of the groups that satisfy a condition: `ven_id`, each once.

    Args:
        of_groups: condition on `groups`.
        gone_after: how far a load's newest device time may lie behind its VEN's; None for any distance.
    """
    group = groups.c
    named = select(func.unnest(group.ven_ids).label("ven_id")).where(of_groups)
    has_loads = func.cardinality(group.load_types) > 0
    has_others = func.cardinality(group.regions) + func.cardinality(group.tags) > 0
    meets = and_(
        or_(func.cardinality(group.regions) == 0, vens.c.region == any_(group.regions)),
        vens.c.tags.contains(group.tags),
    )
    by_attributes = select(vens.c.ven_id).join_from(groups, vens, meets)
    of_type = _typed_loads(gone_after).subquery("typed")
    by_loads = (
        select(vens.c.ven_id)
        .select_from(groups)
        .join(of_type, of_type.c.load_type == any_(group.load_types))
        .join(vens, and_(vens.c.ven_id == of_type.c.ven_id, meets))
    )
    every = union(
        named, by_attributes.where(of_groups, ~has_loads, has_others), by_loads.where(of_groups, has_loads)
    )
    return select(every.subquery("member").c.ven_id)


def one_of(member: CTE) -> OneOf:
    """Return the right side of `ven_id =`: ANY of the members, as one array that is looked up in an index."""
    return any_(func.array(select(member.c.ven_id).scalar_subquery(), type_=ARRAY(Text)))


def targeted_vens(
    targets: Targets, gone_after: timedelta | None, stored_event_id: str | None = None
) -> Select[str] | None:
    """Select the VENs that an event targets: `ven_id`; None for all VENs.

    Args:
        targets: of the event.
        gone_after: as of `members`.
        stored_event_id: of a stored event, whose VENs need not be passed as parameters.
    """
    sources: list[Select[str]] = []
    if targets.ven_ids is not None:
        sources.append(_named(targets.ven_ids, stored_event_id))
    if targets.group_ids is not None:
        sources.append(members_of(targets.group_ids, gone_after))
    by_id = select(union(*sources).subquery("by_id").c.ven_id) if sources else None
    if targets.load_types is None:
        return by_id
    of_types = vens_with_loads_of(targets.load_types, gone_after)
    return of_types if by_id is None else of_types.where(of_types.selected_columns.ven_id.in_(by_id))


def vens_with_loads_of(load_types: Sequence[str], gone_after: timedelta | None) -> Select[str]:
    """Select VENs that have a load of any of the types: `ven_id`."""
    typed = _typed_loads(gone_after, load_types).subquery("typed")
    return select(typed.c.ven_id).distinct()


def _named(ven_ids: Sequence[str], stored_event_id: str | None) -> Select[str]:
    ids: ColumnElement[list[str]] = cast(literal(msgspec.json.encode(list(ven_ids)).decode(), Text), JSON)
    if stored_event_id is not None:
        ids = select(events.c.ven_ids).where(events.c.event_id == stored_event_id).scalar_subquery()
    return select(func.json_array_elements_text(ids).table_valued("value").c.value.label("ven_id"))


def _typed_loads(gone_after: timedelta | None, load_types: Sequence[str] | None = None) -> Select[str, str]:
    """Select the current loads of VENs, enabled or not, with their types: `ven_id`, `load_type`."""
    loads = (
        select(load_snapshots.c.ven_id, load_type().label("load_type"))
        .select_from(with_settings())
        .outerjoin(ven_snapshots, ven_snapshots.c.ven_id == load_snapshots.c.ven_id)
        .where(~is_gone(gone_after, ven_snapshots.c.ts))
    )
    return loads if load_types is None else loads.where(load_type().in_(load_types))


def load_type() -> ColumnElement[str]:
    """The type of a load as responses show it; needs `with_settings()` as FROM."""
    return func.coalesce(effective("load_type"), UNKNOWN_TYPE)
