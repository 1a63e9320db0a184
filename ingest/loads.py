"""Load entries of a message to rows, by load id."""

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from ingest.messages import Refused, Rejection, Source
from ingest.rows import Row, identifier, label
from schemas.wire import LoadEntry, PlainLoadEntry

Rows = dict[str, Row]
"""By load id, in the order of `queries.SAMPLES`."""

CONTRACT_KEYS = frozenset(field.encode_name for field in msgspec.structs.fields(LoadEntry))

_entry = Decoder(LoadEntry)
_keys = Decoder(dict[str, Raw])


def plain_rows(loads: list[PlainLoadEntry], source: Source) -> Rows:
    """Rows of entries with nothing but the contract's keys.

    Raises:
        ValueError: an entry is not perfect; `any_rows` finds out which.
    """
    rows = dict([_row(load, source, None) for load in loads])
    if len(rows) < len(loads):
        raise ValueError("a load stands in the message twice")
    return rows


def any_rows(loads: list[Raw], source: Source) -> tuple[Rows, list[Rejection]]:
    """Rows of entries of any form. A bad one is refused alone; what is beyond the contract is metadata."""
    rows: Rows = {}
    rejections: list[Rejection] = []
    for position, raw in enumerate(loads):
        try:
            load_id, row = _row(_entry.decode(raw), source, _metadata(raw))
            refusal = Refused("load_twice", f"loads[{position}]: {load_id!r} stands in the message already")
        except ValueError as error:
            refusal = Refused("bad_load", f"loads[{position}]: {error}")
        else:
            if rows.setdefault(load_id, row) is row:
                continue
        rejections.append(source.rejection(bytes(raw), refusal))
    return rows, rejections


def _row(load: LoadEntry, source: Source, metadata: str | None) -> tuple[str, Row]:
    load_id = load.id or load.load_id
    if load_id is None:
        raise ValueError("has neither id nor loadId")
    return load_id, (
        source.ven_id,
        source.ts,
        identifier(load_id),
        label(load.type or None),
        label(load.name),
        load.current_power_kw,
        load.shed_power_kw,
        load.capacity_kw,
        load.shed_capability_kw,
        load.enabled,
        load.priority,
        metadata,
    )


def _metadata(raw: Raw) -> str | None:
    extra = {key: value for key, value in _keys.decode(raw).items() if key not in CONTRACT_KEYS}
    return msgspec.json.encode(extra).decode() if extra else None
