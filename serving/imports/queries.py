"""The SQL of imports and exports: reads, compares and writes VENs by the thousand."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import JSON, bindparam, column, func, select
from sqlalchemy.dialects.postgresql import Insert, insert

from schemas.db.queries import Query, fields_of
from schemas.tables.registry import vens


class RegisteredVen(NamedTuple):
    """A VEN's registered values, also of a retired one."""

    ven_id: str
    name: str | None
    latitude_deg: float | None
    longitude_deg: float | None
    registration_id: str | None
    address: str | None
    region: str | None
    tags: list[str]
    retired_at: datetime | None


def all_vens() -> Query[RegisteredVen]:
    """Select all VENs that are not retired, by id."""
    rows = select(*fields_of(RegisteredVen, vens)).where(vens.c.retired_at.is_(None))
    return Query(RegisteredVen, rows.order_by(vens.c.ven_id))


def some_vens(ven_ids: Sequence[str], *, locked: bool) -> Query[RegisteredVen]:
    """Select VENs by their ids, in order; optionally locked to the end of the transaction."""
    rows = select(*fields_of(RegisteredVen, vens)).where(vens.c.ven_id == func.any(list(ven_ids)))
    rows = rows.order_by(vens.c.ven_id)
    return Query(RegisteredVen, rows.with_for_update() if locked else rows)


def write_vens(columns: Sequence[str]) -> Insert:
    """Register VENs, restore retired ones, and set these columns of all.

    `rows` is a list of objects with `ven_id`, `created_at` and the columns, ordered by id, so that two
    writers cannot deadlock.
    """
    names = ["ven_id", "created_at", *columns]
    typed: list[Any] = [column(name, vens.c[name].type) for name in names]
    values = bindparam("rows", type_=JSON)
    rows = func.json_to_recordset(values).table_valued(*typed).render_derived(with_types=True)
    statement = insert(vens).from_select(names, select(*rows.c).order_by(rows.c.ven_id))
    updates = {name: statement.excluded[name] for name in columns}
    return statement.on_conflict_do_update(index_elements=["ven_id"], set_={**updates, "retired_at": None})
