"""Ids with slashes in a path: `/loads/a%2Fhistory` is a load, not the history of a load.

WSGI's `PATH_INFO` is decoded, so the path as it was sent is decoded again, and an encoded slash is kept apart
from the others until the route is found. So is the id of a VEN that is a word of a route, if any letter of it
is percent-encoded: `/api/vens/%68istory` is the VEN `history`, `/api/vens/history` the histories of all.
"""

import re
from urllib.parse import unquote_to_bytes

from schemas.api.fields import VEN_WORDS

ESCAPE = "\ufdd0"
"""Escape character during routing: a non-character, which no new id may contain."""

ENCODED_SLASH, ENCODED_ESCAPE = f"{ESCAPE}1", f"{ESCAPE}0"
"""Escapes the escape character itself, which ids of earlier versions may contain."""

ENCODED_WORD = f"{ESCAPE}2"
"""Marks an id that equals a word of a route."""

RAW_PATH = "RAW_URI"
"""WSGI keys under which servers pass the raw path with the query string."""

VENS = "/api/vens/"
_ESCAPED = re.compile(b"%2f", re.IGNORECASE)
_SLASH, _ESCAPE, _ESCAPED_ESCAPE = (each.encode() for each in (ENCODED_SLASH, ESCAPE, ENCODED_ESCAPE))
_WORD = re.compile(f"(?<=^{VENS})({'|'.join(VEN_WORDS)})(?=/|$)".encode())


def decoded_id(text: str) -> str:
    """Return the id of a marked path as the client meant it."""
    return text.replace(ENCODED_WORD, "").replace(ENCODED_SLASH, "/").replace(ENCODED_ESCAPE, ESCAPE)


def with_marked_ids(path: str) -> str:
    """Decode a raw path, with marks at encoded slashes and at an encoded word of a route."""
    parts = _ESCAPED.split(path.encode("latin-1", "replace"))
    decoded = (unquote_to_bytes(part).replace(_ESCAPE, _ESCAPED_ESCAPE) for part in parts)
    marked = _SLASH.join(decoded)
    if "%" in path.removeprefix(VENS).partition("/")[0]:
        marked = _WORD.sub(ENCODED_WORD.encode() + rb"\1", marked)
    return marked.decode("latin-1")
