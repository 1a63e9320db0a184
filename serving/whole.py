"""A whole answer as bytes: its ETag, and itself compressed, made once and kept with it."""

import hashlib

from msgspec import Struct

from serving.compression import compress


class Sent(Struct, frozen=True):
    """How it was sent: all but the bytes."""

    status: str
    headers: list[tuple[str, str]]
    encoding: str | None
    has_body: bool


class Whole:
    """Bytes that are sent as they are, or as a client asks for them; to be shared by threads."""

    __slots__ = ("_packed", "plain", "sent", "tag")

    def __init__(self, plain: bytes) -> None:
        self.plain = plain
        self.tag = hashlib.sha256(plain).hexdigest()[:24]
        self.sent: dict[tuple[str | None, ...], Sent] = {}
        """By what the request said."""
        self._packed: dict[str, bytes] = {}

    def tag_in(self, encoding: str | None) -> str:
        """Other bytes, another tag."""
        return self.tag if encoding is None else f"{self.tag}-{encoding}"

    def packed(self, encoding: str | None) -> bytes:
        if encoding is None:
            return self.plain
        if encoding not in self._packed:
            self._packed[encoding] = compress(encoding, self.plain)
        return self._packed[encoding]
