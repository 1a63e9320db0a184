"""Upserts of staged rows into their tables."""

from sqlalchemy import (
    BigInteger,
    Delete,
    MetaData,
    Table,
    case,
    delete,
    func,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql import ColumnElement
from sqlalchemy.sql.base import ReadOnlyColumnCollection
from sqlalchemy.sql.elements import KeyedColumnElement

from jobs.transforms.summaries.latest import LOADS, VENS, Latest

STATE = ("used_power_kw_sum", "shed_power_kw_sum", "samples", "used_samples", "shed_samples")


def merge_latest_vens(target: Table, staged: str) -> Insert:
    """Upsert the latest values of VENs: in each group of columns the newer one wins."""
    return _merge_latest(target, staged, VENS)


def merge_latest_loads(target: Table, staged: str) -> Insert:
    """Upsert the latest values of loads, field by field."""
    return _merge_latest(target, staged, LOADS)


def _merge_latest(target: Table, staged: str, latest: Latest) -> Insert:
    statement, new = _upsert(target, staged)
    changes: dict[str, ColumnElement[object]] = {
        name: func.greatest(target.c[name], new[name]) for name in latest.greatest
    }
    for order, fields in latest.groups.items():
        is_newer = new[order] > func.coalesce(target.c[order], _before_all(target.c[order]))
        for column in (*fields, order):
            changes[column] = case((is_newer, new[column]), else_=target.c[column])
    return statement.on_conflict_do_update(index_elements=list(target.primary_key), set_=changes)


def _before_all(order: ColumnElement[object]) -> ColumnElement[object]:
    return (
        literal_column("-1")
        if isinstance(order.type, BigInteger)
        else literal_column("'-infinity'::timestamptz")
    )


def merge_sums(target: Table, staged: str) -> Insert:
    """Insert buckets, or add to those that exist."""
    statement, new = _upsert(target, staged)
    sums = {name: target.c[name] + new[name] for name in STATE}
    return statement.on_conflict_do_update(index_elements=list(target.primary_key), set_=sums)


def replace(target: Table, staged: str) -> Insert:
    """Upsert rows: existing ones with the same key are replaced."""
    statement, new = _upsert(target, staged)
    values = {column.name: new[column.name] for column in target.c if not column.primary_key}
    return statement.on_conflict_do_update(index_elements=list(target.primary_key), set_=values)


def remove(target: Table, staged: str) -> Delete:
    """Delete the rows with the keys of staged ones."""
    twin = target.to_metadata(MetaData(), name=staged)
    return delete(target).where(*(column == twin.c[column.name] for column in target.primary_key))


def insert_missing(target: Table, staged: str) -> Insert:
    statement, _ = _upsert(target, staged)
    return statement.on_conflict_do_nothing()


def _upsert(
    target: Table, staged: str
) -> tuple[Insert, ReadOnlyColumnCollection[str, KeyedColumnElement[object]]]:
    """Insert from the staging table in key order, so that two workers cannot deadlock."""
    twin = target.to_metadata(MetaData(), name=staged)
    rows = select(twin).order_by(*(twin.c[key.name] for key in target.primary_key))
    statement = insert(target).from_select([column.name for column in twin.c], rows)
    return statement, statement.excluded


def mark_stale(target: Table, staged: str) -> Insert:
    """Mark slots as stale; an existing mark is locked, so that it cannot be claimed before we commit."""
    statement, new = _upsert(target, staged)
    return statement.on_conflict_do_update(index_elements=["bucket"], set_={"bucket": new["bucket"]})
