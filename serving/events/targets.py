"""Checks that the targets of an event exist."""

from collections.abc import Sequence

from sqlalchemy import ARRAY, Connection, Text, any_, literal, select

from schemas.tables.registry import groups, vens
from serving.errors import InvalidRequestError


def require_known_vens(connection: Connection, ven_ids: Sequence[str]) -> None:
    """Refuse ids of unregistered VENs.

    Raises:
        InvalidRequestError: one of them does not.
    """
    ids = any_(literal(list(ven_ids), ARRAY(Text)))
    query = select(vens.c.ven_id).where(vens.c.ven_id == ids, vens.c.retired_at.is_(None))
    _require(ven_ids, connection.execute(query).scalars().all() if ven_ids else [], "venIds", "VEN")


def require_known_groups(connection: Connection, group_ids: Sequence[str]) -> None:
    """Refuse ids of unknown groups.

    Raises:
        InvalidRequestError: one of them does not.
    """
    query = select(groups.c.group_id).where(groups.c.group_id.in_(group_ids))
    existing = connection.execute(query).scalars().all() if group_ids else []
    _require(group_ids, existing, "targets.groups", "group")


def _require(named: Sequence[str], existing: Sequence[str], field: str, noun: str) -> None:
    unknown = sorted(set(named) - set(existing))
    if unknown:
        more = f", and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise InvalidRequestError(f"{field} names {unknown[0]!r}{more}: there is no such {noun}")
