"""What all tables and frames share: one MetaData, one naming convention, one type of instants."""

from typing import Annotated

import polars as pl
from sqlalchemy import Column, DateTime, Double, Index, MetaData, Text, text
from sqlalchemy.dialects.postgresql import ARRAY

from schemas.db.frame_models import DataType, pa
from schemas.tables.checking import is_right

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ROOM_FOR_UPDATES = {"fillfactor": 50}
"""Fill factor that leaves room in each page for new versions of a frequently updated row.

Without it each version is written to another page, with new entries in all indexes, and leaves dead tuples
that only vacuum removes: a history whose rows change thirty times takes a multiple of the disk.
"""

Utc = Annotated[pl.Datetime, "us", "UTC"]
"""The type of instants in frames: microseconds, UTC, like PostgreSQL's `timestamptz`."""


Texts = Annotated[pl.List, pl.String()]


class Frame(pa.DataFrameModel):
    """A frame with exactly the columns of its table: no more, no fewer, no coercion."""

    class Config:
        strict = True

    @classmethod
    def checked(cls, frame: pl.DataFrame) -> pl.DataFrame:
        """Return the frame, if it fits the model.

        Raises:
            pandera.errors.SchemaError: it does not.
        """
        return frame if is_right(cls, frame) else cls.validate(frame)

    @classmethod
    def types(cls) -> dict[str, DataType]:
        """The Polars type of each column."""
        return {name: column.dtype.type for name, column in cls.to_schema().columns.items()}


def arrival_index(table: str, column: str) -> Index:
    """Return a BRIN index, for columns that mostly grow with time: batches, seconds, old buckets."""
    return Index(
        f"ix_{table}_{column}",
        column,
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 32, "autosummarize": True},
    )


def instant(name: str, *, nullable: bool = False) -> Column[object]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def key_instant(name: str) -> Column[object]:
    """An instant that is part of the key."""
    return Column(name, DateTime(timezone=True), primary_key=True)


def power_kw(name: str, *, nullable: bool = True) -> Column[float]:
    return Column(name, Double, nullable=nullable)


def text_list(name: str) -> Column[list[str]]:
    """Return a column of texts, ordered like ids; empty by default."""
    return Column(name, ARRAY(Text(collation="C")), nullable=False, server_default=text("'{}'"))


def text_key(name: str) -> Column[str]:
    return Column(name, Text(collation="C"), primary_key=True)
