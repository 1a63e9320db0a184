"""The interface to raw rows outside PostgreSQL."""

from collections.abc import Sequence
from typing import Protocol

import polars as pl
from sqlalchemy import Table

from jobs.summaries.ven_ranges import VenRange
from schemas.tables import Frame


class RawSource(Protocol):
    """The rows of a range of time that the summary counts."""

    def rows(
        self, table: Table, model: type[Frame], vens: VenRange, ven_ids: Sequence[str] | None
    ) -> pl.DataFrame: ...
