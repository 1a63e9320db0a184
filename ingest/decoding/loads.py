"""Decodes the load entries of a message to rows, by load id."""

from collections.abc import Iterator

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from ingest.decoding.fields import FieldDecoders, read_fields
from ingest.decoding.messages import RejectedError, Rejection, Source
from ingest.storing.quotas import LoadIds, LoadTypes, QuotaExceeded, Quotas
from ingest.storing.rows import Row, label
from schemas.devices.wire import LenientLoadEntry, LoadEntry, PlainLoadEntry

Rows = dict[str, Row]
"""By load id, in the order of `queries.SAMPLES`."""

CONTRACT_KEYS = frozenset(field.encode_name for field in msgspec.structs.fields(LoadEntry))
MEASURED = ("id", "load_id", "current_power_kw", "shed_power_kw")
"""Required fields. A wrong value in one rejects the entry; in any other field, only that value."""

_entry = Decoder(LenientLoadEntry)
_keys = Decoder(dict[str, Raw])
_descriptive = FieldDecoders(LoadEntry, but=MEASURED)


def plain_rows(loads: list[PlainLoadEntry], source: Source, quotas: Quotas) -> Rows:
    """Return rows of entries that have only the contract's keys.

    Raises:
        ValueError: an entry is not plain; `any_rows` decodes it.
    """
    if not loads:
        return {}
    try:
        return _plain_rows(loads, source, quotas.load_ids[source.ven_id], quotas.load_types)
    except KeyError:  # a new load id or type
        load_ids = {each: quotas.load_id(source.ven_id, each) for each in map(_load_id, loads)}
        load_types = {load.type: quotas.load_type(load.type) for load in loads}
        return _plain_rows(loads, source, load_ids, load_types)


def _plain_rows(
    loads: list[PlainLoadEntry], source: Source, load_ids: LoadIds, load_types: LoadTypes
) -> Rows:
    rows = dict([_row(load, source, load_ids, load_types, None) for load in loads])
    if len(rows) < len(loads):
        raise ValueError("the message has a load twice")
    return rows


def any_rows(loads: list[Raw], source: Source, quotas: Quotas) -> tuple[Rows, list[Rejection]]:
    """Return rows of entries of any form. A bad one is rejected alone; unknown keys become metadata."""
    rows: Rows = {}
    rejections: list[Rejection] = []
    beyond_quota: list[Raw] = []
    for position, raw in enumerate(loads):
        try:
            load_id, row, problems = _any_row(raw, source, quotas)
        except QuotaExceeded:
            beyond_quota.append(raw)
            continue
        except ValueError as error:
            problems = [RejectedError("bad_load", str(error))]
        else:
            if rows.setdefault(load_id, row) is not row:
                problems = [RejectedError("load_twice", f"the message has {load_id!r} already")]
        rejections += _rejections(raw, position, problems, source)
    if beyond_quota:
        rejections.append(_rejection_of_loads(beyond_quota, source, quotas))
    return rows, rejections


def _any_row(raw: Raw, source: Source, quotas: Quotas) -> tuple[str, Row, list[RejectedError]]:
    lenient = _entry.decode(raw)
    values, problems = read_fields(lenient, _descriptive)
    entry = LoadEntry(**{name: getattr(lenient, name) for name in MEASURED}, **values)
    for name, reader in (("priority", _whole), ("name", label), ("type", quotas.load_type)):
        try:
            setattr(entry, name, reader(values.get(name)))
        except ValueError as error:
            setattr(entry, name, None)
            problems.append(RejectedError(getattr(error, "reason", "bad_field"), f"{name}: {error}"))
    load_id = quotas.load_id(source.ven_id, _load_id(entry))
    row = _row(entry, source, {load_id: load_id}, {entry.type: entry.type}, _metadata(raw))
    return *row, problems


def _rejections(
    raw: Raw, position: int, problems: list[RejectedError], source: Source
) -> Iterator[Rejection]:
    """Return a record for each reason to reject a part of an entry."""
    details: dict[str, list[str]] = {}
    for problem in problems:
        details.setdefault(problem.reason, []).append(problem.detail)
    for reason, reasons in details.items():
        yield source.rejection(bytes(raw), RejectedError(reason, f"loads[{position}]: {'; '.join(reasons)}"))


def _rejection_of_loads(loads: list[Raw], source: Source, quotas: Quotas) -> Rejection:
    """Return one record for all loads of a message beyond the quota; its payload is a list of entries."""
    most = quotas.limits.loads_of_ven
    detail = f"{len(loads)} loads beyond the {most} of a VEN (INGEST_MAX_LOADS_OF_VEN)"
    return source.rejection(
        b"[" + b",".join(map(bytes, loads)) + b"]", RejectedError("too_many_loads", detail)
    )


def _load_id(load: LoadEntry) -> str:
    load_id = load.id or load.load_id
    if load_id is None:
        raise ValueError("has neither id nor loadId")
    return load_id


def _row(
    load: LoadEntry,
    source: Source,
    load_ids: LoadIds,
    load_types: LoadTypes,
    metadata: str | None,
) -> tuple[str, Row]:
    load_id = load.id or _load_id(load)
    priority = load.priority
    return load_id, (
        source.ven_id,
        source.ts,
        load_ids[load_id],
        load_types[load.type],
        label(load.name),
        load.current_power_kw,
        load.shed_power_kw,
        load.capacity_kw,
        load.shed_capability_kw,
        load.enabled,
        _whole(priority) if priority.__class__ is float else priority,
        metadata,
    )


def _whole(number: float | None) -> int | None:
    if number is None or number == int(number):
        return None if number is None else int(number)
    raise ValueError(f"Expected a whole number, got {number}")


def _metadata(raw: Raw) -> str | None:
    extra = {key: value for key, value in _keys.decode(raw).items() if key not in CONTRACT_KEYS}
    return msgspec.json.encode(extra).decode() if extra else None
