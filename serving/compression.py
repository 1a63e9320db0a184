"""Answers in fewer bytes, for who asks: which encoding a client likes best, and bodies in it."""

import sys
import zlib
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Protocol

from serving.blocks import Blocks

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_LEVEL = 5
ZSTD_LEVEL = 3
ENCODINGS = ("zstd", "gzip")
"""Those that we offer, the better one first."""

AS_THEY_ARE = frozenset({"text/event-stream", "image/png", "application/vnd.apache.parquet"})
"""Media types that are compressed already, or that must not wait for more to compress."""

_GZIP_WINDOW = 16 + zlib.MAX_WBITS


class Compressor(Protocol):
    """Compresses what comes, and gives out at once what it has."""

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


@lru_cache(maxsize=256)
def preferred(accepted: str) -> str | None:
    """The encoding that a client's `Accept-Encoding` likes best, of ours; None for the bytes as they are."""
    weights = dict(map(_weight, accepted.lower().split(",")))
    wildcard = weights.get("*", 0.0)
    liked = {encoding: weights.get(encoding, wildcard) for encoding in ENCODINGS}
    best = max(ENCODINGS, key=lambda encoding: liked[encoding])
    return best if liked[best] > 0 and liked[best] >= weights.get("identity", 0.0) else None


def _weight(said: str) -> tuple[str, float]:
    name, _, parameter = said.partition(";")
    try:
        weight = float(parameter.strip().removeprefix("q=")) if parameter.strip() else 1.0
    except ValueError:
        weight = 0.0
    return name.strip(), weight


def compress(encoding: str, body: bytes) -> bytes:
    if encoding == "zstd":
        return zstd.compress(body, ZSTD_LEVEL)
    packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
    return packer.compress(body) + packer.flush()


def compressed(encoding: str, blocks: Iterable[bytes]) -> Blocks:
    """A streamed body, block by block: what goes in comes out at once."""
    return Blocks(_compressed(encoding, blocks), blocks)


def _compressed(encoding: str, blocks: Iterable[bytes]) -> Iterator[bytes]:
    compressor: Compressor = Zstd() if encoding == "zstd" else Gzip()
    for block in blocks:
        if packed := compressor.add(block):
            yield packed
    yield compressor.end()
