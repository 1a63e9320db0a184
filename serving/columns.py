"""From structs of the API to columns: an Arrow schema for each shape, and its entries in batches of it."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import reduce
from typing import Any

import msgspec
import pyarrow as pa
from msgspec import UNSET, Struct, inspect

INSTANT = pa.timestamp("us", "UTC")
SIMPLE: dict[type[inspect.Type], pa.DataType] = {
    inspect.BoolType: pa.bool_(),
    inspect.IntType: pa.int64(),
    inspect.FloatType: pa.float64(),
    inspect.StrType: pa.string(),
    inspect.LiteralType: pa.string(),
    inspect.EnumType: pa.string(),
    inspect.DateTimeType: INSTANT,
}


class Column(Struct, frozen=True):
    """A column's field, and how to get its value from an entry."""

    field: pa.Field
    path: tuple[str, ...]
    convert: Callable[[Any], Any] | None = None

    def values(self, entries: Sequence[Any]) -> list[Any]:
        values = [reduce(getattr, self.path, entry) for entry in entries]
        known = (None if value is UNSET else value for value in values)
        return list(known) if self.convert is None else list(map(self.convert, known))


def nested(shape: type[Struct]) -> list[Column]:
    """A column for each key of the JSON, with its name; objects are structs, arrays are lists."""
    return [
        Column(_field(field), (field.name,), _convert(_arrow_type(field.type)))
        for field in _fields(inspect.type_info(shape))
    ]


def flat(shape: type[Struct]) -> list[Column]:
    """The same without nesting: objects become columns such as `location.lat`, arrays JSON text."""
    return list(_flat(inspect.type_info(shape), (), ""))


def batch(columns: Sequence[Column], schema: pa.Schema, entries: Sequence[Any]) -> pa.RecordBatch:
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
    return SIMPLE[type(bare)]


def _bare(kind: inspect.Type) -> inspect.Type:
    """Without what is told about it, and without null."""
    while isinstance(kind, inspect.Metadata | inspect.UnionType):
        if isinstance(kind, inspect.Metadata):
            kind = kind.type
        else:
            [kind] = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
    return kind


def _convert(kind: pa.DataType) -> Callable[[Any], Any] | None:
    return _as_builtins if pa.types.is_nested(kind) else None


def _as_builtins(value: object) -> Any:  # noqa: ANN401 - dictionaries and lists of them
    return msgspec.to_builtins(value, builtin_types=(datetime,))


def _as_json(value: object) -> str:
    return msgspec.json.encode(value).decode()
