"""Decodes fields one by one, so that an invalid field is rejected alone."""

from typing import Any

import msgspec
from msgspec import Raw, Struct
from msgspec.json import Decoder
from msgspec.structs import FieldInfo

from ingest.decoding.messages import RejectedError


class FieldDecoders:
    """Decoders for fields of a struct, by the type that the struct gives them."""

    def __init__(self, strict: type[Struct], but: tuple[str, ...]) -> None:
        self.fields: list[tuple[FieldInfo, Decoder[Any]]] = [
            (field, Decoder(field.type)) for field in msgspec.structs.fields(strict) if field.name not in but
        ]


def read_fields(lenient: Struct, decoders: FieldDecoders) -> tuple[dict[str, Any], list[RejectedError]]:
    """Return values by name, null where absent, and a problem for each value of the wrong type."""
    values: dict[str, Any] = {}
    problems = []
    for field, decoder in decoders.fields:
        raw: Raw = getattr(lenient, field.name)
        try:
            values[field.name] = decoder.decode(raw) if bytes(raw) else None
        except ValueError as error:
            values[field.name] = None
            problems.append(RejectedError("bad_field", f"{field.encode_name}: {error}"))
    return values, problems
