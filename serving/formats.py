"""The media types of lists and histories: which one a client wants, and answers in it, block by block."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from itertools import chain, islice
from typing import Any, Protocol

import falcon
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from falcon import Request, Response
from falcon.util import mediatypes
from msgspec import Struct

from serving import description, parameters
from serving.answers import answer_list, answer_points
from serving.blocks import AT_FIRST, Blocks, growing
from serving.columns import Column, batch, flat, nested, schema_of
from serving.description import ARROW, CSV, JSON, PARQUET
from serving.histories import History
from serving.parameters import FORMAT, asked

BY_NAME = dict(zip(parameters.FORMATS, description.FORMATS, strict=True))

ROWS_AT_ONCE = 8_192
"""Of a record batch or row group, at most."""

WARNING_HEADER = "History-Warning"
CSV_INSTANT = "%Y-%m-%dT%H:%M:%S%.fZ"


def negotiate(request: Request, response: Response) -> str:
    """The media type that the client likes best, of those in which lists and histories come.

    Raises:
        falcon.HTTPNotAcceptable: it likes none of them.
    """
    response.append_header("Vary", "Accept")
    if name := asked(request.params, FORMAT):
        return BY_NAME[name]
    preferred = _preferred(request.accept)
    if preferred is None:
        raise falcon.HTTPNotAcceptable(description=f"This comes as {', '.join(description.FORMATS)}.")
    return preferred


@lru_cache(maxsize=256)
def _preferred(accept: str) -> str | None:
    try:
        return mediatypes.best_match(description.FORMATS, accept) or None
    except ValueError:  # nothing that can be read
        return None


def answer_entries(
    response: Response,
    media_type: str,
    shape: type[Struct],
    entries: Iterable[Any],
    at_first: int = AT_FIRST,
) -> None:
    """A list of the shape."""
    if media_type == JSON:
        answer_list(response, entries, at_first)
    else:
        _answer_columns(response, media_type, shape, iter(entries), at_first)


def answer_history(response: Response, media_type: str, points: History) -> None:
    """Points; where they are not all exact, a warning, which columns have no place for, goes to a header."""
    if media_type == JSON:
        answer_points(response, points)
    else:
        _answer_columns(response, media_type, points.shape, iter(points), warning=lambda: points.warning)


class Writer(Protocol):
    """Writes batches to its outbox; the first thing that it writes is the schema."""

    def write_batch(self, batch: pa.RecordBatch) -> None: ...
    def close(self) -> None: ...


class CsvWriter:
    """CSV as RFC 4180 has it; null is nothing, and an empty text `""`."""

    def __init__(self, outbox: "Outbox", schema: pa.Schema) -> None:
        self._outbox = outbox
        self._write(schema.empty_table(), with_names=True)

    def write_batch(self, batch: pa.RecordBatch) -> None:
        self._write(pa.Table.from_batches([batch]), with_names=False)

    def close(self) -> None:
        pass

    def _write(self, table: pa.Table, *, with_names: bool) -> None:
        frame = pl.DataFrame(pl.from_arrow(table))
        self._outbox.write(frame.write_csv(include_header=with_names, datetime_format=CSV_INSTANT).encode())


class Outbox(io.RawIOBase):
    """Where writers write, and the answer takes from."""

    def __init__(self) -> None:
        self._written: list[bytes] = []
        self._position = 0

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:  # noqa: ANN401 - any buffer
        block = bytes(content)
        self._written.append(block)
        self._position += len(block)
        return len(block)

    def tell(self) -> int:
        return self._position

    def take(self) -> bytes:
        taken = b"".join(self._written)
        self._written.clear()
        return taken


def _nothing(_columns: Sequence[Column]) -> bytes:
    """Parquet has its schema at the end, and is nothing without."""
    return b""


def _half_a_message(_columns: Sequence[Column]) -> bytes:
    """To readers of Arrow, the end of the bytes is an end as well; but not amid a message."""
    return b"\xff\xff\xff\xff" + (65_536).to_bytes(4, "little")


def _odd_row(columns: Sequence[Column]) -> bytes:
    """With more values than there are columns."""
    return b'"This answer has broken off."' + b"," * len(columns) + b"\n"


class Columnar(Struct, frozen=True):
    """How a columnar media type is made: its columns of a shape, its writer, and what is not its end."""

    columns: Callable[[type[Struct]], list[Column]]
    writer: Callable[[Outbox, pa.Schema], Writer]
    broken: Callable[[Sequence[Column]], bytes] = _nothing


def _parquet(outbox: Outbox, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(outbox, schema, compression="zstd")


COLUMNAR = {
    ARROW: Columnar(nested, pa.ipc.new_stream, _half_a_message),
    PARQUET: Columnar(nested, _parquet),
    CSV: Columnar(flat, CsvWriter, _odd_row),
}


def _answer_columns(
    response: Response,
    media_type: str,
    shape: type[Struct],
    entries: Iterator[Any],
    at_first: int = AT_FIRST,
    warning: Callable[[], str | None] = lambda: None,
) -> None:
    """Entries as columns, streamed if they are many. `warning` is asked once the first have been read."""
    chosen = COLUMNAR[media_type]
    columns = chosen.columns(shape)
    # The first block is read before the status line is sent: what fails, fails as an error.
    first = list(islice(entries, at_first))
    schema = schema_of(columns)
    if told := warning():
        response.set_header(WARNING_HEADER, told)
        schema = schema.with_metadata({"warning": told})
    blocks = _blocks(chosen, columns, schema, first, entries)
    response.content_type = media_type
    if len(first) < at_first:
        response.data = b"".join(blocks)
    else:
        response.stream = Blocks(blocks, entries, chosen.broken(columns))


def _blocks(
    chosen: Columnar, columns: Sequence[Column], schema: pa.Schema, first: list[Any], remaining: Iterator[Any]
) -> Iterator[bytes]:
    outbox = Outbox()
    with closing(chosen.writer(outbox, schema)) as writer:
        for block in chain([first] if first else [], growing(remaining, 2 * len(first), ROWS_AT_ONCE)):
            writer.write_batch(batch(columns, schema, block))
            yield outbox.take()
    yield outbox.take()
