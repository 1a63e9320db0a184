"""Content encodings: negotiation, and compression of bodies and streams."""

import sys
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_LEVEL = 5
ZSTD_LEVEL = 3
ENCODINGS = ("zstd", "gzip")
"""Offered content encodings, in order of preference."""

_GZIP_WINDOW = 16 + zlib.MAX_WBITS


@lru_cache(maxsize=256)
def preferred_encoding(accepted: str) -> str | None:
    """Return the offered encoding with the greatest weight in `Accept-Encoding`; None for no encoding."""
    weights = dict(map(_weight, accepted.lower().split(",")))
    wildcard = weights.get("*", 0.0)
    offered = {encoding: weights.get(encoding, wildcard) for encoding in ENCODINGS}
    best = max(ENCODINGS, key=lambda encoding: offered[encoding])
    return best if offered[best] > 0 and offered[best] >= weights.get("identity", 0.0) else None


def _weight(item: str) -> tuple[str, float]:
    name, _, parameter = item.partition(";")
    try:
        weight = float(parameter.strip().removeprefix("q=")) if parameter.strip() else 1.0
    except ValueError:
        weight = 0.0
    return name.strip(), weight


def compress(encoding: str, body: bytes) -> bytes:
    if encoding == "zstd":
        return zstd.compress(body, ZSTD_LEVEL)
    compressor = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return compressor.compress(body) + compressor.flush()


class Compressor(Protocol):
    """Compresses block by block, flushing after each."""

    def add(self, data: bytes) -> bytes: ...
    def end(self) -> bytes: ...


class Gzip:
    def __init__(self) -> None:
        self._inner = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)

    def add(self, data: bytes) -> bytes:
        return self._inner.compress(data) + self._inner.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        return self._inner.flush()


class Zstd:
    def __init__(self) -> None:
        self._inner = zstd.ZstdCompressor(ZSTD_LEVEL)

    def add(self, data: bytes) -> bytes:
        return self._inner.compress(data, zstd.ZstdCompressor.FLUSH_BLOCK)

    def end(self) -> bytes:
        return self._inner.flush()


class CompressedStream:
    """A streamed body, compressed block by block; closing it closes the body."""

    def __init__(self, encoding: str, blocks: Iterable[bytes]) -> None:
        self._source = blocks
        self._compressed = _compressed(encoding, blocks)

    def __iter__(self) -> Iterator[bytes]:
        return self._compressed

    def close(self) -> None:
        # A generator that has not started does not close its source.
        for each in (self._compressed, self._source):
            if close := getattr(each, "close", None):
                close()


def _compressed(encoding: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    compressor: Compressor = Zstd() if encoding == "zstd" else Gzip()
    for block in blocks:
        if compressed := compressor.add(block):
            yield compressed
    yield compressor.end()
