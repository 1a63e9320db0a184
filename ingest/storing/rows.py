r"""Rows on their way to COPY: tuples, which msgspec writes as JSON arrays, and which COPY reads as CSV.

Both put a string between `"` and escape `"` and `\` with a backslash; `null` is nothing, `"null"` a text.
They differ in control characters: what JSON writes as `\n`, COPY would read as `n`. So no text in a row may
hold one; that is what the functions here see to.
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
    """Rows, at least one, as COPY takes them, each with the batch's id behind it."""
    ending = b",%d\n" % batch_id
    # No newline stands within a row, so these brackets are always the borders of two.
    return _encoder.encode_lines(rows)[1:-2].replace(b"]\n[", ending) + ending


def document(data: bytes) -> str:
    """JSON on one line. Unescaped, its control characters are white space between its parts."""
    if b"\n" in data or b"\t" in data or b"\r" in data:
        data = data.translate(_WHITE_SPACE)
    return data.decode()


@lru_cache(maxsize=1 << 17)
def label(text: str | None) -> str | None:
    """A name or a type, which repeats from message to message; control characters become spaces.

    Raises:
        ValueError: it holds a NUL, which PostgreSQL's text cannot.
    """
    if text is None:
        return None
    if "\0" in text:
        raise ValueError("has a NUL character; take it out")
    return text.translate(_CONTROLS)


@lru_cache(maxsize=1 << 17)
def identifier(text: str) -> str:
    """A VEN's or a load's id, which ends up in topics, paths and logs.

    Raises:
        ValueError: it is no identifier.
    """
    return require_identifier(text)
