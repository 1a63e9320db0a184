"""The SQL of late rows: rows of dropped days that came after the archive was written.

They are those of batches that were not visible when their day was archived: see docs/decisions/0060.
"""

from collections.abc import Sequence
from datetime import date, datetime
from functools import cache

from sqlalchemy import (
    ARRAY,
    CTE,
    JSON,
    BigInteger,
    Column,
    ColumnElement,
    Date,
    DateTime,
    FromClause,
    Label,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    cast,
    false,
    func,
    or_,
    select,
    true,
    tuple_,
)

from schemas.db.ledger import DAYS_OF_BATCH, NEXT_XACT_ID, is_visible_in
from schemas.db.queries import Relation
from schemas.tables.archive import archived_days, archives
from schemas.tables.history import RAW_S, horizons
from schemas.tables.ledger import ingest_batches
from schemas.tables.raw import ven_load_samples, ven_telemetry

COLUMNS = ("ven_id", "load_id", "ts", "used_power_kw", "shed_power_kw")
INSTANT = DateTime(timezone=True)
SINCE, UNTIL = bindparam("late_since", type_=INSTANT), bindparam("late_until", type_=INSTANT)
CAUGHT_UP: ColumnElement[int] = bindparam("caught_up_xact_id", type_=BigInteger)
BATCHES = bindparam("late_batches", type_=ARRAY(BigInteger))


@cache
def archive() -> Select[datetime, int]:
    return select(archives.c.since, archives.c.caught_up_xact_id)


@cache
def late_batches(*, is_counted: bool = True) -> Select[date, Sequence[int]]:
    """Select dropped days, and the batches that may have rows of them that the archive lacks.

    `caught_up_xact_id` of the archive is a parameter: by a joined one PostgreSQL would read all batches.

    Args:
        is_counted: only days whose late rows the summary will count: those since the archive began.
    """
    batch, archived = ingest_batches.c, archived_days.c
    day = func.unnest(DAYS_OF_BATCH).table_valued("day").render_derived().lateral()
    batches = (
        select(day.c.day, func.array_agg(batch.batch_id))
        .select_from(archives)
        .join(horizons, horizons.c.resolution_s == RAW_S)
        .join(ingest_batches, batch.xact_id >= CAUGHT_UP)
        .join(day, true())
        .outerjoin(archived_days, archived.day == day.c.day)
        .where(batch.xact_id < NEXT_XACT_ID, batch.first_ts < horizons.c.since)
        .where(day.c.day < _utc_day(horizons.c.since))
        .where(or_(archived.day.is_(None), ~is_visible_in(archived.snapshot, batch.xact_id)))
        .group_by(day.c.day)
    )
    return batches.where(day.c.day >= _utc_day(archives.c.since)) if is_counted else batches


def _utc_day(midnight: ColumnElement[object]) -> ColumnElement[date]:
    return cast(func.timezone("UTC", midnight), Date)


@cache
def late_rows(
    raw: Table,
    of: Sequence[str] = (),
    by: Sequence[str] = (),
    members: CTE | None = None,
    names: Sequence[str] = COLUMNS,
) -> Relation:
    """Select late rows of entities, each with `has_report`: whether its report came in the same batch.

    Args:
        raw: a partitioned raw table.
        of: key columns that are parameters.
        by: key columns of the members.
        members: restricts to these, if given.
        names: of columns; those that the table does not have are left out. JSON is selected as text.
    """
    report = ven_telemetry.alias("report")
    has_report: ColumnElement[bool] = true() if raw is ven_telemetry else false()
    source: FromClause = raw
    if raw is ven_load_samples:
        has_report = report.c.ven_id.is_not(None)
        same = [report.c[name] == raw.c[name] for name in ("ven_id", "ts", "batch_id")]
        source = raw.outerjoin(report, and_(*same, *_is_late(report)))
    columns = (_selected(raw.c[name]) for name in names if name in raw.c)
    rows = select(*columns, has_report.label("has_report")).select_from(source)
    return rows.where(*of_entities(raw, of, by, members), *_is_late(raw))


def _selected(column: Column[object]) -> ColumnElement[object] | Label[str]:
    """Return a column; JSON as text."""
    if isinstance(column.type, JSON):
        return cast(column, Text).label(column.name)
    return column


def _is_late(raw: FromClause) -> list[ColumnElement[bool]]:
    return [raw.c.batch_id == func.any(BATCHES), raw.c.ts >= SINCE, raw.c.ts < UNTIL]


def of_entities(
    raw: Table, of: Sequence[str], by: Sequence[str], members: CTE | None
) -> list[ColumnElement[bool]]:
    """The condition for rows of the entities in parameters, and of members."""
    conditions: list[ColumnElement[bool]] = [raw.c[name] == bindparam(name) for name in of]
    if members is not None:
        keys = select(*(members.c[name] for name in by))
        conditions.append(tuple_(*(raw.c[name] for name in by)).in_(keys))
    return conditions
