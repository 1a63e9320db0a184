"""The text in rows: names, identifiers and documents, each on one line."""

from functools import lru_cache
from typing import Any

from schemas.devices.identifiers import require_identifier

Row = tuple[Any, ...]
"""A value for each column, in the order of a `queries.Keyed`, up to the batch id."""

_CONTROLS = dict.fromkeys(range(1, 32), " ")
_WHITE_SPACE = bytes.maketrans(b"\t\n\r", b"   ")


def document(data: bytes) -> str:
    """Return JSON on one line: its unescaped control characters are white space between tokens."""
    if b"\n" in data or b"\t" in data or b"\r" in data:
        data = data.translate(_WHITE_SPACE)
    return data.decode()


@lru_cache(maxsize=1 << 17)
def label(text: str | None) -> str | None:
    """Return a name or a type, interned, with control characters replaced by spaces.

    Raises:
        ValueError: it contains a NUL, which PostgreSQL cannot store.
    """
    if text is None:
        return None
    if "\0" in text:
        raise ValueError("has a NUL character; take it out")
    return text.translate(_CONTROLS)


@lru_cache(maxsize=1 << 17)
def identifier(text: str) -> str:
    """Return a VEN's or a load's id, which is used in topics, paths and logs.

    Raises:
        ValueError: it is not an identifier.
    """
    return require_identifier(text)
