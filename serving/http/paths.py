"""Ids with slashes in a path: `/loads/a%2Fhistory` is a load, not the history of a load.

`PATH_INFO` is decoded, so the path as it was sent is read again, and an encoded slash is kept apart from the
others until the route is found.
"""

import re
from urllib.parse import unquote_to_bytes
from wsgiref.types import WSGIEnvironment

ESCAPE = "\ufdd0"
"""Begins what stands for a character while routes are sought: a non-character, which no new id may have."""

ENCODED_SLASH, ENCODED_ESCAPE = f"{ESCAPE}1", f"{ESCAPE}0"
"""An id of an earlier version may have the escape character itself."""

RAW_PATH = "RAW_URI"
"""Where servers put the path as it was sent, with the query string."""

_ESCAPED = re.compile(b"%2f", re.IGNORECASE)
_SLASH, _ESCAPE, _ESCAPED_ESCAPE = (each.encode() for each in (ENCODED_SLASH, ESCAPE, ENCODED_ESCAPE))


def decoded_id(text: str) -> str:
    """An id as the client meant it, out of a marked path."""
    return text.replace(ENCODED_SLASH, "/").replace(ENCODED_ESCAPE, ESCAPE)


def mark_ids(env: WSGIEnvironment) -> None:
    """Mark the encoded slashes in `PATH_INFO`."""
    path = env[RAW_PATH].partition("?")[0]
    if "%" not in path:
        return
    parts = _ESCAPED.split(path.encode("latin-1", "replace"))
    decoded = (unquote_to_bytes(part).replace(_ESCAPE, _ESCAPED_ESCAPE) for part in parts)
    env["PATH_INFO"] = _SLASH.join(decoded).decode("latin-1")
