"""Bytes from a topic to rows for COPY, or a refusal that says why. Pure: the clock is an argument."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec
from msgspec.json import Decoder

from ingest import rows
from ingest.loads import any_rows, plain_rows
from ingest.messages import Answer, Decoded, Description, Received, Refused, Report, Source, Status
from ingest.rows import Row
from schemas.instants import from_unix, parse_iso
from schemas.wire import Acknowledgement, LoadSnapshot, PlainTelemetry, StatusMessage, StatusWord, Telemetry

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
"""No VEN reported before; a clock that was never set says 1970."""

LARGEST_PAYLOAD_BYTES = 16 * 1024 * 1024
"""A hundred thousand loads fit; what is longer is not telemetry."""

BARE_WORD = re.compile(rb"[A-Za-z][A-Za-z_-]{0,63}")

T = TypeVar("T")
Wire = PlainTelemetry | Telemetry | LoadSnapshot | StatusMessage
Kind = Callable[[Received, str | None, datetime], Decoded]

_plain_telemetry = Decoder(PlainTelemetry)
_any_telemetry = Decoder(Telemetry)
_load_snapshot = Decoder(LoadSnapshot)
_status = Decoder(StatusMessage)
_status_word = Decoder(StatusWord)
_acknowledgement = Decoder(Acknowledgement)


def decode(message: Received, max_ahead: timedelta) -> Decoded:
    """Decode one message by its topic.

    Raises:
        Refused: nothing of it can be accepted.
    """
    kind, topic_ven = _route(message.topic)
    if len(message.payload) > LARGEST_PAYLOAD_BYTES:
        raise Refused("too_large", f"{len(message.payload)} bytes; {LARGEST_PAYLOAD_BYTES} are accepted")
    try:
        return kind(message, topic_ven, message.received_at + max_ahead)
    except UnicodeDecodeError as error:
        raise Refused("not_utf8", str(error)) from None
    except RecursionError:
        raise Refused("too_deep", "nested deeper than any telemetry is") from None


def _route(topic: str) -> tuple[Kind, str | None]:
    if topic == "volttron/metering":
        return _telemetry, None
    prefix, _, ven_id = topic.rpartition("/")
    kind = _BY_TOPIC.get(prefix)
    if kind is None or not ven_id:
        raise Refused("unknown_topic", f"no message is expected on {topic!r}")
    return kind, ven_id


def _telemetry(message: Received, topic_ven: str | None, latest: datetime) -> Report:
    try:
        plain = _plain_telemetry.decode(message.payload)
        source = _source(message, topic_ven, plain, latest)
        return Report(source, _panel(plain, source), plain_rows(plain.loads or [], source), [])
    except ValueError:
        # Not the plain case: read it entry by entry, and find out what is wrong with it, if anything.
        wire = _read(_any_telemetry, message.payload)
        source = _source(message, topic_ven, wire, latest)
        return Report(source, _panel(wire, source), *any_rows(wire.loads or [], source))


def _panel(wire: PlainTelemetry | Telemetry, source: Source) -> Row:
    used = wire.power_kw if wire.used_power_kw is None else wire.used_power_kw
    shed = wire.shed_kw if wire.shed_power_kw is None else wire.shed_power_kw
    soc = _first(wire.battery_soc, wire.battery_soc_upper, wire.battery_soc_snake)
    return (
        source.ven_id,
        source.ts,
        used,
        shed or 0.0,
        wire.requested_reduction_kw,
        _label("eventId", wire.event_id),
        wire.baseline_power_kw,
        soc,
        rows.document(source.message.payload),
        source.message.received_at,
    )


def _load_descriptions(message: Received, topic_ven: str | None, latest: datetime) -> Description:
    wire = _read(_load_snapshot, message.payload)
    source = _source(message, topic_ven, wire, latest)
    return Description(source, *any_rows(wire.loads, source))


def _status_transition(message: Received, topic_ven: str | None, latest: datetime) -> Status:
    wire = _read_status(message.payload)
    source = _source(message, topic_ven, wire, latest)
    details = rows.document(bytes(wire.details))
    row = (source.ven_id, source.ts, _label("status", wire.status), details or None, message.received_at)
    content = f"[{msgspec.json.encode(wire.status).decode()},{details or 'null'}]"
    return Status(source, row, content)


def _answer(message: Received, topic_ven: str | None, _latest: datetime) -> Answer:
    wire = _read(_acknowledgement, message.payload)
    ven_id = _identifier(_ven_id(topic_ven, wire.ven_id))
    if wire.is_accepted is None:
        raise Refused("wrong_type", "neither `ok` nor `status` says what came of the command")
    if "\0" in wire.correlation_id:
        raise Refused("bad_text", "correlationId has a NUL character")
    return Answer(message, ven_id, wire.correlation_id, wire.is_accepted, rows.document(message.payload))


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
        raise Refused("wrong_type", str(error)) from None
    except msgspec.DecodeError as error:
        raise Refused("not_json", str(error)) from None


def _read_status(payload: bytes) -> StatusMessage:
    if BARE_WORD.fullmatch(payload):
        return StatusMessage(payload.decode())
    if payload.startswith(b'"'):
        return StatusMessage(_read(_status_word, payload))
    return _read(_status, payload)


def _source(message: Received, topic_ven: str | None, wire: Wire, latest: datetime) -> Source:
    ven_id = _ven_id(topic_ven, wire.ven_id)
    ts = _time_of_receipt(message) if wire.timestamp is None else _instant(wire.timestamp, latest)
    return Source(message, _identifier(ven_id), ts)


def _time_of_receipt(message: Received) -> datetime:
    """Of a retained message only this is known: it is older than all that came by itself."""
    return EARLIEST if message.is_retained else message.received_at


def _ven_id(from_topic: str | None, from_payload: str | None) -> str:
    if from_topic and from_payload and from_topic != from_payload:
        raise Refused("ven_mismatch", f"the topic names {from_topic!r}, the payload {from_payload[:80]!r}")
    ven_id = from_payload or from_topic
    if ven_id is None:
        raise Refused("no_ven_id", "neither the topic nor venId names the VEN")
    if len(ven_id) > 255:  # noqa: PLR2004 - as schemas.wire.Id
        raise Refused("bad_id", "venId is longer than 255 characters")
    return ven_id


def _identifier(ven_id: str) -> str:
    try:
        return rows.identifier(ven_id)
    except ValueError as error:
        raise Refused("bad_id", f"venId {error}") from None


def _instant(timestamp: float | str, latest: datetime) -> datetime:
    try:
        ts = parse_iso(timestamp) if isinstance(timestamp, str) else from_unix(timestamp)
    except ValueError as error:
        raise Refused("bad_timestamp", f"timestamp {timestamp!r:.80}: {error}") from None
    if ts > latest:
        raise Refused(
            "timestamp_ahead", f"timestamp {ts} is ahead of our clock; would freeze the latest values"
        )
    if ts < EARLIEST:
        raise Refused(
            "timestamp_too_old", f"timestamp {ts} is before {EARLIEST:%Y}: is the device's clock set?"
        )
    return ts


def _label(field: str, text: str | None) -> str | None:
    try:
        return rows.label(text)
    except ValueError as error:
        raise Refused("bad_text", f"{field} {error}") from None


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
