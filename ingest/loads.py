"""Load entries of a message to rows for COPY. A bad entry is refused alone: the others are stored."""

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from ingest import copytext
from ingest.messages import Entry, Refused, Rejection, Source
from schemas.wire import LoadEntry, PlainLoadEntry

_entry = Decoder(LoadEntry)
_keys = Decoder(dict[str, Any])
CONTRACT_KEYS = frozenset(field.encode_name for field in msgspec.structs.fields(LoadEntry))


def plain_entries(loads: list[PlainLoadEntry], source: Source) -> tuple[list[Entry], list[Rejection]]:
    """Entries that msgspec has already found to be of the contract's form."""
    return _entries(((load, copytext.NOTHING, b"") for load in loads), source)


def raw_entries(loads: list[Raw], source: Source) -> tuple[list[Entry], list[Rejection]]:
    """Entries of any form: what the contract does not know goes to their metadata."""
    return _entries(_parse(loads), source)


def _parse(loads: list[Raw]) -> Iterator[tuple[LoadEntry | Refused, str, bytes]]:
    for raw in loads:
        try:
            yield _entry.decode(raw), _metadata(raw), bytes(raw)
        except msgspec.MsgspecError as error:
            yield Refused("bad_load", str(error)), copytext.NOTHING, bytes(raw)


def _metadata(raw: Raw) -> str:
    extra = {key: value for key, value in _keys.decode(raw).items() if key not in CONTRACT_KEYS}
    return copytext.document(msgspec.json.encode(extra).decode()) if extra else copytext.NOTHING


def _entries(
    parsed: Iterable[tuple[LoadEntry | Refused, str, bytes]], source: Source
) -> tuple[list[Entry], list[Rejection]]:
    prefix = f"{copytext.identifier(source.ven_id)}\t{copytext.instant(source.ts)}"
    entries: dict[str, Entry] = {}
    rejections: list[Rejection] = []
    for position, (load, metadata, raw) in enumerate(parsed):
        try:
            entry = _row(load, prefix, metadata)
            if entries.setdefault(entry.load_id, entry) is not entry:
                raise Refused("load_twice", f"{entry.load_id!r} stands in the message already")  # noqa: TRY301
        except Refused as refusal:
            located = Refused(refusal.reason, f"loads[{position}]: {refusal.detail}")
            rejections.append(source.rejection(raw or msgspec.json.encode(load), located))
    return list(entries.values()), rejections


def _row(load: LoadEntry | Refused, prefix: str, metadata: str) -> Entry:
    if isinstance(load, Refused):
        raise load
    load_id = load.id or load.load_id
    if load_id is None:
        raise Refused("bad_load", "has neither id nor loadId")
    number, label = copytext.number, copytext.label
    try:
        return Entry(
            load_id,
            f"{prefix}\t{copytext.identifier(load_id)}\t{label(load.type)}\t{label(load.name)}"
            f"\t{number(load.current_power_kw)}\t{number(load.shed_power_kw)}\t{number(load.capacity_kw)}"
            f"\t{number(load.shed_capability_kw)}\t{copytext.boolean(load.enabled)}"
            f"\t{number(load.priority)}\t{metadata}",
        )
    except ValueError as error:
        raise Refused("bad_load", f"{load_id[:80]!r} {error}") from None
