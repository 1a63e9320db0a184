"""Columnar media types: Arrow, Parquet and CSV, from structs of the API, block by block."""

import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from functools import reduce
from typing import Any, Protocol

import msgspec
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import UNSET, Struct, inspect

from serving.http.parameters.media import ARROW, CSV, PARQUET

ROWS_AT_ONCE = 8_192
"""Most rows of a record batch or row group."""

CSV_INSTANT = "%Y-%m-%dT%H:%M:%S%.fZ"

INSTANT = pa.timestamp("us", "UTC")
SIMPLE: dict[type[inspect.Type], pa.DataType] = {
    inspect.BoolType: pa.bool_(),
    inspect.IntType: pa.int64(),
    inspect.FloatType: pa.float64(),
    inspect.StrType: pa.string(),
    inspect.DateTimeType: INSTANT,
}


class Column(Struct, frozen=True):
    """A column's field, and how to get its value from an entry."""

    field: pa.Field
    path: tuple[str, ...]
    convert: Callable[[object], object] | None = None

    def values(self, entries: Sequence[object]) -> list[object]:
        values = [reduce(getattr, self.path, entry) for entry in entries]
        present = (None if value is UNSET else value for value in values)
        return list(present) if self.convert is None else list(map(self.convert, present))


def nested(shape: type[Struct]) -> list[Column]:
    """A column for each key of the JSON, with its name; objects are structs, arrays are lists."""
    return [
        Column(_field(field), (field.name,), _convert(_arrow_type(field.type)))
        for field in _fields(inspect.type_info(shape))
    ]


def flat(shape: type[Struct]) -> list[Column]:
    """Columns without nesting: objects become columns such as `location.lat`, arrays JSON text."""
    return list(_flat(inspect.type_info(shape), (), ""))


def batch(columns: Sequence[Column], schema: pa.Schema, entries: Sequence[object]) -> pa.RecordBatch:
    arrays = [pa.array(column.values(entries), column.field.type) for column in columns]
    return pa.record_batch(arrays, schema=schema)


def schema_of(columns: Sequence[Column]) -> pa.Schema:
    return pa.schema([column.field for column in columns])


def _flat(shape: inspect.Type, path: tuple[str, ...], prefix: str) -> list[Column]:
    columns = []
    for field in _fields(shape):
        kind, name, at = _bare(field.type), prefix + field.encode_name, (*path, field.name)
        if isinstance(kind, inspect.StructType):
            columns += _flat(kind, at, f"{name}.")
        elif isinstance(kind, inspect.ListType):
            columns.append(Column(pa.field(name, pa.string()), at, _as_json))
        else:
            columns.append(Column(_field(field).with_name(name), at))
    return columns


def _fields(shape: inspect.Type) -> tuple[inspect.Field, ...]:
    if not isinstance(shape, inspect.StructType):
        raise TypeError(f"{shape} has no fields")
    return shape.fields


def _field(field: inspect.Field) -> pa.Field:
    return pa.field(field.encode_name, _arrow_type(field.type), nullable=_is_nullable(field))


def _is_nullable(field: inspect.Field) -> bool:
    kind = field.type.type if isinstance(field.type, inspect.Metadata) else field.type
    return isinstance(kind, inspect.UnionType) or not field.required


def _arrow_type(kind: inspect.Type) -> pa.DataType:
    bare = _bare(kind)
    if isinstance(bare, inspect.StructType):
        return pa.struct([_field(field) for field in bare.fields])
    if isinstance(bare, inspect.ListType):
        return pa.list_(_arrow_type(bare.item_type))
    if isinstance(bare, inspect.LiteralType):
        return _literal_type(bare.values)
    return SIMPLE[type(bare)]


def _literal_type(values: tuple[bool | str | int | None, ...]) -> pa.DataType:
    """Raises: TypeError: they mix texts and numbers, which a column cannot contain."""
    match {type(value) for value in values}:
        case kinds if kinds == {str}:
            return pa.string()
        case kinds if kinds == {int}:
            return pa.int64()
    raise TypeError(f"{values} are not of one type")


def _bare(kind: inspect.Type) -> inspect.Type:
    """The type without its metadata, and without null."""
    while isinstance(kind, inspect.Metadata | inspect.UnionType):
        if isinstance(kind, inspect.Metadata):
            kind = kind.type
        else:
            [kind] = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
    return kind


def _convert(kind: pa.DataType) -> Callable[[object], object] | None:
    return _as_builtins if pa.types.is_nested(kind) else None


def _as_builtins(value: object) -> object:
    return msgspec.to_builtins(value, builtin_types=(datetime,))


def _as_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


class BatchWriter(Protocol):
    """Writes batches to a sink; it writes the schema first."""

    def write_batch(self, batch: pa.RecordBatch) -> None: ...
    def close(self) -> None: ...


FORMULA = r"^[=+\-@\t\r\n\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]"
"""Characters with which spreadsheets begin a formula: a device could inject one by its name.

Full-width forms count, too, as East Asian settings treat them alike.
"""

TEXTS = pl.col(pl.String)
_without_formulas = pl.when(TEXTS.str.contains(FORMULA)).then("'" + TEXTS).otherwise(TEXTS).name.keep()


class CsvWriter:
    """CSV of RFC 4180; null is an empty field, an empty text `""`; formulas get an apostrophe as prefix."""

    def __init__(self, sink: "ByteSink", schema: pa.Schema) -> None:
        self._sink = sink
        self._write(schema.empty_table(), with_names=True)

    def write_batch(self, batch: pa.RecordBatch) -> None:
        self._write(pa.Table.from_batches([batch]), with_names=False)

    def close(self) -> None:
        pass

    def _write(self, table: pa.Table, *, with_names: bool) -> None:
        frame = pl.DataFrame(pl.from_arrow(table)).with_columns(_without_formulas)
        self._sink.write(frame.write_csv(include_header=with_names, datetime_format=CSV_INSTANT).encode())


class ByteSink(io.RawIOBase):
    """A file-like buffer of written bytes until they are taken."""

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
        content = b"".join(self._written)
        self._written.clear()
        return content


def _no_bytes(_columns: Sequence[Column]) -> bytes:
    """Return nothing: Parquet is unreadable without the footer at its end."""
    return b""


def _incomplete_message(_columns: Sequence[Column]) -> bytes:
    """Return an incomplete message: readers of Arrow accept a stream without its end marker."""
    return b"\xff\xff\xff\xff" + (65_536).to_bytes(4, "little")


def _malformed_row(columns: Sequence[Column]) -> bytes:
    """Return a row with more fields than columns."""
    return b'"This answer has broken off."' + b"," * len(columns) + b"\n"


class Columnar(Struct, frozen=True):
    """A columnar media type: its columns of a shape, its writer, and the bytes that mark a broken body."""

    columns: Callable[[type[Struct]], list[Column]]
    writer: Callable[[ByteSink, pa.Schema], BatchWriter]
    broken: Callable[[Sequence[Column]], bytes] = _no_bytes


def _parquet(sink: ByteSink, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(sink, schema, compression="zstd")


MEDIA_WRITERS = {
    ARROW: Columnar(nested, pa.ipc.new_stream, _incomplete_message),
    PARQUET: Columnar(nested, _parquet),
    CSV: Columnar(flat, CsvWriter, _malformed_row),
}


class ColumnarBody(Struct, frozen=True):
    """The blocks of a body, and the block to send if one of them fails."""

    blocks: Iterator[bytes]
    broken: bytes


def columnar_body(
    media_type: str, shape: type[Struct], blocks: Iterable[Sequence[object]], warning: str | None = None
) -> ColumnarBody:
    """Return a body of entries of a shape, in blocks; the warning goes to the schema's metadata."""
    media = MEDIA_WRITERS[media_type]
    columns = media.columns(shape)
    schema = schema_of(columns)
    if warning:
        schema = schema.with_metadata({"warning": warning})
    return ColumnarBody(_encoded(media, columns, schema, blocks), media.broken(columns))


def _encoded(
    media: Columnar, columns: Sequence[Column], schema: pa.Schema, blocks: Iterable[Sequence[object]]
) -> Iterator[bytes]:
    sink = ByteSink()
    with closing(media.writer(sink, schema)) as writer:
        for block in blocks:
            writer.write_batch(batch(columns, schema, block))
            yield sink.take()
    yield sink.take()
