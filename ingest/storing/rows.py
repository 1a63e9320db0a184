r"""Encodes rows for COPY: msgspec writes tuples as JSON arrays, which COPY reads as CSV.

Both quote strings by `"` and escape `"` and `\` with a backslash; `null` is NULL, `"null"` a text.
They differ in control characters: what JSON writes as `\n`, COPY would read as `n`. So the functions here
keep control characters out of rows.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from schemas.devices.identifiers import require_identifier

Row = tuple[Any, ...]
"""A value for each column, in the order of a `queries.Keyed`, up to the batch id."""

COPY_OPTIONS = r"FORMAT csv, NULL 'null', ESCAPE '\'"

_CONTROLS = dict.fromkeys(range(1, 32), " ")
_WHITE_SPACE = bytes.maketrans(b"\t\n\r", b"   ")
_encoder = msgspec.json.Encoder()


def copy_data(rows: Sequence[Row], batch_id: int) -> bytes:
    """Return one or more rows in the format of COPY, each followed by the batch's id."""
    ending = b",%d\n" % batch_id
    # Rows contain no newline, so these brackets always separate two rows.
    return _encoder.encode_lines(rows)[1:-2].replace(b"]\n[", ending) + ending


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
