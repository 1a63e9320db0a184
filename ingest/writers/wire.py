"""The protocol between the receiving process and a writer process: MessagePack frames over a socket pair.

The writer gets lists of messages, and sends `Report`s. Pure functions over bytes.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from ingest.decoding.messages import Received
from ingest.storing.store import Stored

LENGTH_BYTES = 4


class Acknowledged(Struct, frozen=True, array_like=True, tag=True):
    """The next `count` messages, in the order in which they were sent, are stored."""

    messages: int


class Committed(Struct, frozen=True, array_like=True, tag=True):
    """A transaction; `newest` is the newest device time of its reports."""

    stored: Stored
    duration_s: float
    newest: datetime | None


class CommitFailed(Struct, frozen=True, array_like=True, tag=True):
    """An attempt to commit failed."""


class Alive(Struct, frozen=True, array_like=True, tag=True):
    """Heartbeat, sent every second."""


Report = Acknowledged | Committed | CommitFailed | Alive

_encoder = msgspec.msgpack.Encoder()
_messages = msgspec.msgpack.Decoder(list[Received])
_report = msgspec.msgpack.Decoder(Report)


def encode_messages(messages: Sequence[Received]) -> bytes:
    return _frame(_encoder.encode(messages))


def decode_messages(frame: bytes) -> list[Received]:
    return _messages.decode(frame)


def encode_report(report: Report) -> bytes:
    return _frame(_encoder.encode(report))


def decode_report(frame: bytes) -> Report:
    report: Report = _report.decode(frame)
    return report


def _frame(content: bytes) -> bytes:
    return len(content).to_bytes(LENGTH_BYTES) + content


class FrameStream:
    """Splits received bytes into frames."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._needed = LENGTH_BYTES

    def feed(self, data: bytes) -> list[bytes]:
        """Return the contents of the frames that these bytes complete."""
        self._rest += data
        frames: list[bytes] = []
        position = 0
        while len(self._rest) - position >= self._needed:
            start = position + LENGTH_BYTES
            end = start + int.from_bytes(self._rest[position:start])
            self._needed = end - position
            if end <= len(self._rest):
                frames.append(bytes(self._rest[start:end]))
                position, self._needed = end, LENGTH_BYTES
        del self._rest[:position]
        return frames
