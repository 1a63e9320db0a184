"""The archived days and their files: see docs/decisions/0060."""

import polars as pl
from sqlalchemy import JSON, BigInteger, Column, Date, Integer, Table, Text

from schemas.tables.metadata import Frame, Texts, Utc, instant, metadata, text_key, text_list

archives = Table(
    "archives",
    metadata,
    text_key("archive_id"),
    instant("since"),
    instant("until"),
    Column("caught_up_xact_id", BigInteger, nullable=False),
)

archived_days = Table(
    "archived_days",
    metadata,
    Column("day", Date, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("snapshot", Text, nullable=False),
    Column("manifest", JSON, nullable=False),
    text_list("obsolete"),
    instant("archived_at"),
)


class ArchiveFrame(Frame):
    """The archive that belongs to this database, if there is one.

    Days before `since` were dropped before there was an archive; days before `until` are archived. All rows
    of transactions before `caught_up_xact_id` are in `archived_days`.
    """

    archive_id: str
    since: Utc
    until: Utc
    caught_up_xact_id: int


class ArchivedDayFrame(Frame):
    """Days with rows in the archive, by their manifests.

    Batches of transactions that are not visible in `snapshot` (a `pg_snapshot`) may have rows that the files
    lack. `obsolete` files are superseded, and will be deleted.
    """

    day: pl.Date
    version: pl.Int32
    snapshot: str
    manifest: str
    obsolete: Texts
    archived_at: Utc
