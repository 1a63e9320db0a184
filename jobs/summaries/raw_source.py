"""Raw rows from elsewhere than PostgreSQL."""

from collections.abc import Sequence
from typing import Protocol

import polars as pl
from sqlalchemy import Table

from jobs.summaries.ven_ranges import VenRange
from schemas.tables import Frame


class RawSource(Protocol):
    """The rows of a range of time, as far as the summary counts them."""

    def rows(
        self, table: Table, model: type[Frame], vens: VenRange, ven_ids: Sequence[str] | None
    ) -> pl.DataFrame: ...
