"""Decodes bytes of a topic to rows for COPY, or rejects them with a reason. Pure: time is an argument."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec
from msgspec import Raw
from msgspec.json import Decoder
from msgspec.structs import replace

from ingest.decoding.encodings import another_encoding
from ingest.decoding.fields import FieldDecoders, read_fields
from ingest.decoding.loads import Rows, any_rows, plain_rows
from ingest.decoding.messages import (
    Answer,
    Decoded,
    Description,
    Received,
    RejectedError,
    Rejection,
    Report,
    Source,
    Status,
)
from ingest.decoding.surrogates import explained, restored, without_halves
from ingest.storing import rows
from ingest.storing.quotas import Quotas
from ingest.storing.rows import Row, label
from schemas.devices.statuses import status_word
from schemas.devices.wire import (
    Abilities,
    Acknowledgement,
    AnsweredAbilities,
    LenientTelemetry,
    LoadSnapshot,
    PanelTelemetry,
    PlainTelemetry,
    StatusMessage,
    StatusWord,
)
from schemas.times.instants import from_unix, parse_iso

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""No VEN reported before this; a clock that was never set starts in 1970."""

BARE_WORD = re.compile(rb"[A-Za-z][A-Za-z_-]{0,63}")
BOM = b"\xef\xbb\xbf"

T = TypeVar("T")
Wire = PlainTelemetry | LenientTelemetry | LoadSnapshot | StatusMessage
Kind = Callable[[Received, str | None, datetime, Quotas], Decoded]
MEASURED = ("timestamp", "ven_id", "used_power_kw", "shed_power_kw", "power_kw", "shed_kw")
"""Required fields. A wrong value in one rejects the message; in any other field, only that value."""

_plain_telemetry = Decoder(PlainTelemetry)
_lenient_telemetry = Decoder(LenientTelemetry)
_descriptive = FieldDecoders(PanelTelemetry, but=MEASURED)
_load_list = Decoder(list[Raw] | None)
_load_snapshot = Decoder(LoadSnapshot)
_status = Decoder(StatusMessage)
_quoted_word = Decoder(StatusWord)
_acknowledgement = Decoder(Acknowledgement)
_abilities = Decoder(Abilities | None)
_answered_data = Decoder(AnsweredAbilities)


def decode(message: Received, max_ahead: timedelta, quotas: Quotas | None = None) -> Decoded:
    """Decode one message by its topic.

    Raises:
        RejectedError: the message is rejected as a whole.
    """
    kind, topic_ven = _route(message.topic)
    quotas = quotas or Quotas()
    if len(message.payload) > quotas.limits.payload_bytes:
        raise RejectedError(
            "too_large",
            f"{len(message.payload)} bytes; {quotas.limits.payload_bytes} are accepted"
            " (INGEST_MAX_PAYLOAD_BYTES)",
        )
    latest = message.received_at + max_ahead
    try:
        return _decode(kind, message, topic_ven, latest, quotas)
    except RejectedError as problem:
        if problem.reason != "not_json":
            raise
        readable = message.payload.removeprefix(BOM)
        cleaned = without_halves(readable)
        if cleaned == message.payload:
            raise another_encoding(message.payload) or problem from None
    try:
        decoded = _decode(kind, replace(message, payload=cleaned), topic_ven, latest, quotas)
    except RejectedError as problem:
        raise (problem if cleaned == readable else explained(problem)) from None
    return decoded if cleaned == readable else restored(decoded, readable, cleaned)


def _decode(
    kind: Kind, message: Received, topic_ven: str | None, latest: datetime, quotas: Quotas
) -> Decoded:
    try:
        return kind(message, topic_ven, latest, quotas)
    except UnicodeDecodeError as error:
        raise RejectedError("not_utf8", f"{error}; publish UTF-8, not Windows-1252 or ISO 8859-1") from None
    except RecursionError:
        raise RejectedError("too_deep", "nested deeper than any telemetry is") from None


def _route(topic: str) -> tuple[Kind, str | None]:
    if topic == "volttron/metering":
        return _telemetry, None
    prefix, _, ven_id = topic.rpartition("/")
    kind = _BY_TOPIC.get(prefix)
    if kind is None or not ven_id:
        raise RejectedError("unknown_topic", f"no message is expected on {topic!r}")
    return kind, ven_id


def _telemetry(message: Received, topic_ven: str | None, latest: datetime, quotas: Quotas) -> Report:
    try:
        plain = _plain_telemetry.decode(message.payload)
        source = _source(message, topic_ven, plain, latest)
        return Report(source, _panel(plain, source), plain_rows(plain.loads or [], source, quotas), [])
    except ValueError:
        # Slow path: decode field by field, to find what is wrong, if anything is.
        return _lenient(message, topic_ven, latest, quotas)


def _lenient(message: Received, topic_ven: str | None, latest: datetime, quotas: Quotas) -> Report:
    wire = _read(_lenient_telemetry, message.payload)
    source = _source(message, topic_ven, wire, latest)
    values, problems = read_fields(wire, _descriptive)
    try:
        label(values["event_id"])
    except ValueError as error:
        values["event_id"] = None
        problems.append(RejectedError("bad_field", f"eventId: {error}"))
    panel = PanelTelemetry(**{name: getattr(wire, name) for name in MEASURED}, **values)
    samples, rejections = _samples(wire.loads, source, quotas)
    if problems:
        details = RejectedError("bad_field", "; ".join(problem.detail for problem in problems))
        rejections.append(source.rejection(message.payload, details))
    return Report(source, _panel(panel, source), samples, rejections)


def _samples(loads: Raw, source: Source, quotas: Quotas) -> tuple[Rows, list[Rejection]]:
    try:
        entries = _load_list.decode(loads) if bytes(loads) else None
    except ValueError as error:
        return {}, [source.rejection(bytes(loads), RejectedError("bad_field", f"loads: {error}"))]
    return any_rows(entries or [], source, quotas)


def _panel(wire: PanelTelemetry, source: Source) -> Row:
    used = wire.power_kw if wire.used_power_kw is None else wire.used_power_kw
    shed = wire.shed_kw if wire.shed_power_kw is None else wire.shed_power_kw
    soc = _first(wire.battery_soc, wire.battery_soc_upper, wire.battery_soc_snake)
    return (
        source.ven_id,
        source.ts,
        used,
        shed or 0.0,
        wire.requested_reduction_kw,
        label(wire.event_id) or None,
        wire.baseline_power_kw,
        soc,
        rows.document(source.message.payload),
        source.message.received_at,
    )


def _load_descriptions(
    message: Received, topic_ven: str | None, latest: datetime, quotas: Quotas
) -> Description:
    wire = _read(_load_snapshot, message.payload)
    source = _source(message, topic_ven, wire, latest)
    samples, rejections = any_rows(wire.loads, source, quotas)
    try:
        understands = _abilities_json(wire.understands)
    except ValueError as error:
        understands = None
        problem = RejectedError("bad_field", f"understands: {error}")
        rejections.append(source.rejection(message.payload, problem))
    return Description(source, samples, rejections, understands)


def _abilities_json(abilities: Raw) -> str | None:
    """Return a sorted JSON array; None if the VEN reports no abilities.

    Raises:
        ValueError: it is not a list of words.
    """
    words = _abilities.decode(abilities) if bytes(abilities) else None
    return None if words is None else _ordered(words)


def _ordered(words: list[str]) -> str:
    """Return distinct sorted words as JSON.

    Raises:
        ValueError: one of them contains a NUL.
    """
    return msgspec.json.encode(sorted({label(word) or "" for word in words})).decode()


def _answered_abilities(wire: Acknowledgement) -> str | None:
    """Return the abilities in an acknowledgement, beside its `data` or in it.

    A wrong value is stored with the acknowledgement and otherwise ignored.
    """
    try:
        beside = _abilities_json(wire.understands)
        data = _answered_data.decode(wire.data) if beside is None and bytes(wire.data) else None
        within = None if data is None else data.understands
        return beside if within is None else _ordered(within)
    except ValueError:
        return None


def _status_transition(message: Received, topic_ven: str | None, latest: datetime, _quotas: Quotas) -> Status:
    wire = _read_status(message.payload)
    source = _source(message, topic_ven, wire, latest)
    details = rows.document(bytes(wire.details))
    word = _status_word(wire.status)
    row = (source.ven_id, source.ts, word, details or None, message.received_at)
    return Status(source, row, f"[{msgspec.json.encode(word).decode()},{details or 'null'}]")


def _status_word(status: object) -> str:
    try:
        return label(status_word(str(status))) or ""
    except ValueError as error:
        raise RejectedError(
            "wrong_type" if "\0" not in str(status) else "bad_text", f"status {error}"
        ) from None


def _answer(message: Received, topic_ven: str | None, _latest: datetime, _quotas: Quotas) -> Answer:
    wire = _read(_acknowledgement, message.payload)
    ven_id = _identifier(_ven_id(topic_ven, wire.ven_id))
    if wire.is_accepted is None:
        raise RejectedError("wrong_type", "neither `ok` nor `status` tells the outcome of the command")
    if "\0" in wire.correlation_id:
        raise RejectedError("bad_text", "correlationId has a NUL character; take it out")
    content = rows.document(message.payload)
    return Answer(message, ven_id, wire.correlation_id, wire.is_accepted, content, _answered_abilities(wire))


_BY_TOPIC: dict[str, Kind] = {
    "oadr/meter": _telemetry,
    "ven/loads": _load_descriptions,
    "ven/status": _status_transition,
    "ven/ack": _answer,
}


def _read(decoder: Decoder[T], payload: bytes) -> T:
    try:
        return decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise RejectedError("wrong_type", str(error)) from None
    except msgspec.DecodeError as error:
        raise RejectedError("not_json", str(error)) from None


def _read_status(payload: bytes) -> StatusMessage:
    word = payload.strip()
    if BARE_WORD.fullmatch(word):
        return StatusMessage(word.decode())
    if word.startswith(b'"'):
        return StatusMessage(_read(_quoted_word, payload))
    return _read(_status, payload)


def _source(message: Received, topic_ven: str | None, wire: Wire, latest: datetime) -> Source:
    ven_id = _ven_id(topic_ven, wire.ven_id)
    ts = _time_of_receipt(message) if wire.timestamp is None else _instant(wire.timestamp, latest)
    return Source(message, _identifier(ven_id), ts)


def _time_of_receipt(message: Received) -> datetime:
    """Return the time of receipt; a retained message counts as older than live ones: its age is unknown."""
    return EARLIEST if message.is_retained else message.received_at


def _ven_id(from_topic: str | None, from_payload: str | None) -> str:
    if from_topic and from_payload and from_topic != from_payload:
        raise RejectedError(
            "ven_mismatch", f"the topic names {from_topic!r}, the payload {from_payload[:80]!r}"
        )
    ven_id = from_payload or from_topic
    if ven_id is None:
        raise RejectedError("no_ven_id", "neither the topic nor venId names the VEN")
    return ven_id


def _identifier(ven_id: str) -> str:
    try:
        return rows.identifier(ven_id)
    except ValueError as error:
        raise RejectedError("bad_id", f"venId {error}") from None


def _instant(timestamp: float | str, latest: datetime) -> datetime:
    try:
        ts = parse_iso(timestamp) if isinstance(timestamp, str) else from_unix(timestamp)
    except ValueError as error:
        raise RejectedError("bad_timestamp", f"timestamp {timestamp!r:.80}: {error}") from None
    if ts > latest:
        raise RejectedError(
            "timestamp_ahead", f"timestamp {ts} is ahead of our clock; would freeze the latest values"
        )
    if ts < EARLIEST:
        raise RejectedError(
            "timestamp_too_old", f"timestamp {ts} is before {EARLIEST:%Y}: is the device's clock set?"
        )
    return ts


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
