"""The SQL of the archive: archived days, days with missing rows, and the rows of a day."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import NamedTuple

import msgspec
from sqlalchemy import (
    Date,
    Select,
    Table,
    Text,
    Update,
    cast,
    false,
    func,
    literal,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.elements import TextClause

from jobs.queries.storage import partitions as partition_queries
from jobs.queries.storage.partitions import OLDEST_XACT_ID
from jobs.queries.summaries.summary import Scope, of_vens, within_range
from schemas.archive.manifest import Manifest
from schemas.db.horizons import dropped_before
from schemas.db.ledger import DAYS_OF_BATCH, NEXT_XACT_ID, is_visible_in
from schemas.db.queries import Query, Relation, fields_of
from schemas.tables import Frame
from schemas.tables.archive import archived_days, archives
from schemas.tables.history import RAW_S
from schemas.tables.ledger import ingest_batches, rejected_messages
from schemas.times.time_ranges import TimeRange

EMPTY_SNAPSHOT = "1:1:"
"""A snapshot in which no transaction is visible."""


class ArchiveRow(NamedTuple):
    """The archive of this database: see `ArchiveFrame`."""

    archive_id: str
    since: datetime
    until: datetime
    caught_up_xact_id: int


def archive() -> Query[ArchiveRow]:
    """Select the archive of this database; no row before it is created."""
    return Query(ArchiveRow, select(*fields_of(ArchiveRow, archives)))


def begin_archive(until: datetime) -> Insert:
    """Create the archive. Transactions before the oldest running one are over: readers see their rows."""
    dropped_until = dropped_before(RAW_S).scalar_subquery()
    return insert(archives).values(
        archive_id=cast(func.gen_random_uuid(), Text),
        since=func.coalesce(dropped_until, until),
        until=until,
        caught_up_xact_id=OLDEST_XACT_ID,
    )


def begin_again(until: datetime) -> Update:
    return update(archives).values(until=until, caught_up_xact_id=OLDEST_XACT_ID)


def forget_snapshots() -> Update:
    """Reset the snapshots of archived days, so that rows of any batch may be missing."""
    return update(archived_days).values(snapshot=EMPTY_SNAPSHOT)


def is_of_this_server() -> Select[bool]:
    """Select whether transaction ids can be compared; not after a restore into a new cluster."""
    return select(archives.c.caught_up_xact_id <= NEXT_XACT_ID)


def advance(until: datetime) -> Update:
    return update(archives).values(until=func.greatest(archives.c.until, until))


def go_back(until: datetime) -> Update:
    """Move the end of the archived days back to a time."""
    return update(archives).values(until=func.least(archives.c.until, until))


def catch_up(xact_id: int) -> Update:
    return update(archives).values(caught_up_xact_id=xact_id)


def first_day_behind() -> Select[date | None]:
    """Select the first archived day for which a batch may have missing rows; null without any."""
    batch, written = ingest_batches.c, archived_days.c
    day = func.unnest(DAYS_OF_BATCH).table_valued("day").render_derived().lateral()
    return (
        select(func.min(day.c.day))
        .select_from(archives)
        .join(ingest_batches, batch.xact_id >= archives.c.caught_up_xact_id)
        .join(day, true())
        .outerjoin(archived_days, written.day == day.c.day)
        .where(batch.xact_id < NEXT_XACT_ID)
        .where(day.c.day < cast(func.timezone("UTC", archives.c.until), Date))
        .where(or_(written.day.is_(None), ~is_visible_in(written.snapshot, batch.xact_id)))
    )


def late_batches(within: TimeRange, snapshot: str) -> Select[int]:
    """Select batches with rows in a range of days that were not visible in a snapshot."""
    batches = partition_queries.late_batches(within, oldest_of(snapshot))
    return batches.where(~is_visible_in(literal(snapshot, Text), ingest_batches.c.xact_id))


def current_snapshot() -> Select[str]:
    """Select the current snapshot: later statements of this transaction see at least its rows."""
    return select(cast(func.pg_current_snapshot(), Text))


def oldest_of(snapshot: str) -> int:
    """Select the oldest transaction that was not over in a snapshot."""
    return int(snapshot.partition(":")[0])


def has_new_versions(days: Sequence[TimeRange], since: datetime) -> Select[bool]:
    """Select whether an archived day of some ranges was written again since a time, because of late rows."""
    written = archived_days.c
    utc_days = (written.day.between(each.start.date(), each.end.date()) for each in days)
    again = select(written.day).where(or_(false(), *utc_days), written.version > 1)
    return select(again.where(written.archived_at > since).exists())


class ArchivedDayRow(NamedTuple):
    """An archived day: see `ArchivedDayFrame`."""

    day: date
    version: int
    snapshot: str
    manifest: object
    obsolete: list[str]


def manifest_of(row: ArchivedDayRow) -> Manifest:
    return msgspec.convert(row.manifest, Manifest)


def archived_day(day: date) -> Query[ArchivedDayRow]:
    days = select(*fields_of(ArchivedDayRow, archived_days))
    return Query(ArchivedDayRow, days.where(archived_days.c.day == day))


def archived() -> Query[ArchivedDayRow]:
    """Select all archived days, oldest first."""
    days = select(*fields_of(ArchivedDayRow, archived_days))
    return Query(ArchivedDayRow, days.order_by(archived_days.c.day))


def with_obsolete_files(before: datetime) -> Query[ArchivedDayRow]:
    """Select days with obsolete files; dropped ones only if their newest version is from before a time."""
    days, day = select(*fields_of(ArchivedDayRow, archived_days)), archived_days.c
    dropped_until = dropped_before(RAW_S).scalar_subquery()
    is_held = func.coalesce(day.day >= cast(func.timezone("UTC", dropped_until), Date), true())
    return Query(
        ArchivedDayRow,
        days.where(func.cardinality(day.obsolete) > 0, or_(is_held, day.archived_at < before)),
    )


def forget_obsolete(day: date) -> Update:
    return update(archived_days).where(archived_days.c.day == day).values(obsolete=[])


def record(
    manifest: Manifest, content: object, snapshot: str, obsolete: Sequence[str], archived_at: datetime
) -> Insert:
    """Upsert a version of a day; `content` is its manifest as plain values."""
    statement = insert(archived_days).values(
        day=manifest.day,
        version=manifest.version,
        snapshot=snapshot,
        manifest=content,
        obsolete=list(obsolete),
        archived_at=archived_at,
    )
    changed = {
        name: statement.excluded[name]
        for name in ("version", "snapshot", "manifest", "obsolete", "archived_at")
    }
    return statement.on_conflict_do_update(index_elements=["day"], set_=changed)


def first_ts(partition: str, within: TimeRange) -> TextClause:
    """Select the first instant in a range that a partition has; null without any."""
    start, end = within.start.isoformat(), within.end.isoformat()
    return text(f"SELECT min(ts) FROM {partition} WHERE ts >= '{start}' AND ts < '{end}'")


def rows(table: Table, model: type[Frame], scope: Scope) -> Relation:
    """Select the rows of a raw table in a scope, whether consumed or not."""
    columns = (table.c[name] for name in model.types())
    return select(*columns).where(*within_range(table.c.ts, scope.within), *of_vens(table, scope))


def reject(refused: Sequence[dict[str, object]]) -> Insert:
    return insert(rejected_messages).values(list(refused))
