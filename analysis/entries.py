"""Structs of the API as a frame, with the names and types of its Arrow format. Pure."""

from collections.abc import Sequence

import polars as pl
from msgspec import Struct

from analysis.frames import pythonic
from serving.http.formats import batch, nested, schema_of


def entries_frame(shape: type[Struct], entries: Sequence[Struct]) -> pl.DataFrame:
    columns = nested(shape)
    return pythonic(pl.DataFrame(pl.from_arrow(batch(columns, schema_of(columns), entries))))
