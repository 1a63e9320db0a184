"""Selects the subjects of a request for histories: VENs or loads, or the totals of groups or load types."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from operator import attrgetter

from msgspec import Struct
from sqlalchemy import Connection

from serving.errors import NotFoundError, no_group, no_ven
from serving.history import selection_queries
from serving.history.selection_queries import TypedLoadRow
from serving.history.series import (
    LISTED_LOADS,
    LISTED_VENS,
    TOTAL_OF_LISTED_LOADS,
    Series,
    group_series,
    known_group,
    listed,
)
from serving.history.service import HistorySubject

Key = tuple[str, ...]
"""The key columns of a statement's rows: ids."""


class SelectionPart(Struct, frozen=True):
    """A subject read by one statement, and the first columns of its rows, by key."""

    subject: HistorySubject
    columns: Mapping[Key, Key]


class Selection(Struct, frozen=True):
    """The histories of a response, in order."""

    columns: Mapping[Key, Key]
    """The first columns of each history, by key."""
    series: Series
    """The series, if each history is of a listed entity."""
    totals: Sequence[SelectionPart] = ()
    """The subjects, if each history is a total."""

    def parts(self, size: int) -> Iterator[SelectionPart]:
        """Yield parts of at most `size` histories; a total is a part of its own."""
        yield from self.totals
        keys = () if self.totals else tuple(self.columns)
        for first in range(0, len(keys), size):
            some = keys[first : first + size]
            subject = HistorySubject(self.series, listed(self.series, some))
            yield SelectionPart(subject, {key: self.columns[key] for key in some})


def vens_by_id(connection: Connection, ven_ids: Sequence[str]) -> Selection:
    """Select VENs by their ids.

    Raises:
        NotFoundError: one of them is not registered.
    """
    registered = connection.execute(selection_queries.named_vens(ven_ids)).scalars().all()
    unknown = sorted({*ven_ids} - {*registered})
    if unknown:
        others = f" Nor are there {len(unknown) - 1} more of `ids`." if unknown[1:] else ""
        raise NotFoundError(no_ven(unknown[0]) + others)
    return _vens(registered)


def vens_of_group(connection: Connection, group_id: str, gone_after: timedelta | None) -> Selection:
    """Select the members of a group.

    Raises:
        NotFoundError: there is no such group.
    """
    _require_group(connection, group_id)
    return _vens(
        connection.execute(selection_queries.registered_members(group_id, gone_after)).scalars().all()
    )


def all_vens(connection: Connection) -> Selection:
    return _vens(connection.execute(selection_queries.registered_vens()).scalars().all())


def group_totals(connection: Connection, group_id: str | None, gone_after: timedelta | None) -> Selection:
    """Select the total of a group, or of each group.

    Raises:
        NotFoundError: there is no such group.
    """
    if group_id is not None:
        _require_group(connection, group_id)
    group_ids = (
        connection.execute(selection_queries.group_ids()).scalars() if group_id is None else [group_id]
    )
    series = group_series(gone_after)
    return _totals(series, {each: HistorySubject(series, {"group_id": each}) for each in group_ids})


def loads_of_types(connection: Connection, types: Sequence[str]) -> Selection:
    """Select the loads of some types, or all.

    Raises:
        NotFoundError: there is no load of one of the types.
    """
    rows = _loads(connection, types)
    columns: dict[Key, Key] = {
        (row.ven_id, row.load_id): (row.ven_id, row.load_id, row.load_type) for row in rows
    }
    return Selection(columns, LISTED_LOADS)


def type_totals(connection: Connection, types: Sequence[str]) -> Selection:
    """Select the total of each of some load types, or of all types.

    Raises:
        NotFoundError: there is no load of one of the types.
    """
    rows = sorted(_loads(connection, types), key=attrgetter("load_type"))
    series = TOTAL_OF_LISTED_LOADS
    subjects = {
        load_type: HistorySubject(series, listed(series, [(row.ven_id, row.load_id) for row in loads]))
        for load_type, loads in groupby(rows, attrgetter("load_type"))
    }
    return _totals(series, subjects)


def _vens(ven_ids: Sequence[str]) -> Selection:
    return Selection({(ven_id,): (ven_id,) for ven_id in ven_ids}, LISTED_VENS)


def _totals(series: Series, subjects: Mapping[str, HistorySubject]) -> Selection:
    parts = [SelectionPart(subject, {(): (name,)}) for name, subject in subjects.items()]
    return Selection({(name,): (name,) for name in subjects}, series, parts)


def _require_group(connection: Connection, group_id: str) -> None:
    if known_group(group_id).first(connection) is None:
        raise NotFoundError(no_group(group_id))


def _loads(connection: Connection, types: Sequence[str]) -> Sequence[TypedLoadRow]:
    rows = selection_queries.typed_loads(types).all(connection)
    missing = sorted({*types} - {row.load_type for row in rows})
    if missing:
        present = ", ".join(connection.execute(selection_queries.load_types()).scalars()) or "none at all"
        raise NotFoundError(f"There is no load of type {missing[0]!r}; the types are {present}.")
    return rows
