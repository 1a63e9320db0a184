"""Detects the encoding of a payload that is not JSON in UTF-8, by its first bytes."""

import codecs

from ingest.decoding.messages import RejectedError

_MARKS = {
    codecs.BOM_UTF32_LE: "UTF-32 (little-endian)",
    codecs.BOM_UTF32_BE: "UTF-32 (big-endian)",
    codecs.BOM_UTF16_LE: "UTF-16 (little-endian)",
    codecs.BOM_UTF16_BE: "UTF-16 (big-endian)",
    b"{\0\0\0": "UTF-32 (little-endian)",
    b"\0\0\0{": "UTF-32 (big-endian)",
    b"{\0": "UTF-16 (little-endian)",
    b"\0{": "UTF-16 (big-endian)",
}
_COMPRESSED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"\x78\x9c": "zlib", b"\x78\xda": "zlib"}


def another_encoding(payload: bytes) -> RejectedError | None:
    """Return a problem that names the encoding; None if it is not recognised."""
    for mark, name in _MARKS.items():
        if payload.startswith(mark):
            return RejectedError("not_utf8", f"it is {name}; publish JSON as UTF-8")
    for mark, name in _COMPRESSED.items():
        if payload.startswith(mark):
            return RejectedError("not_json", f"it is compressed with {name}; publish plain JSON as UTF-8")
    return None
