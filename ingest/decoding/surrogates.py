r"""Lone surrogates in JSON, such as `\ud800`: no decoder accepts them, and UTF-8 cannot encode them.

Each is replaced by a NUL, which is invalid in every text and id, so that only its own field is rejected.
"""

import re

from msgspec.structs import replace

from ingest.decoding.messages import Decoded, Description, RejectedError, Rejection, Report
from ingest.storing.rows import document

_ESCAPES = re.compile(
    rb"\\\\"  # an escaped backslash, which does not escape what follows
    rb"|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb"|(?P<half>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)
_NUL = rb"\u0000"
_NOTE = "half of a surrogate pair is read as U+0000"


def without_halves(payload: bytes) -> bytes:
    """Return JSON of the same length, with U+0000 for each lone surrogate."""
    return _ESCAPES.sub(lambda escape: _NUL if escape["half"] else escape[0], payload)


def explained(problem: RejectedError) -> RejectedError:
    return RejectedError(problem.reason, f"{problem.detail} ({_NOTE})")


def restored(decoded: Decoded, payload: bytes, cleaned: bytes) -> Decoded:
    """Return what a cleaned payload was decoded to, with the original bytes where they are stored as sent."""
    if isinstance(decoded, Report):
        columns = (document(payload) if each == document(cleaned) else each for each in decoded.row)
        source = replace(decoded.source, message=replace(decoded.source.message, payload=payload))
        decoded = replace(decoded, source=source, row=tuple(columns))
    if isinstance(decoded, Report | Description):
        return replace(
            decoded, rejections=[_restored_rejection(each, payload, cleaned) for each in decoded.rejections]
        )
    return decoded


def _restored_rejection(rejection: Rejection, payload: bytes, cleaned: bytes) -> Rejection:
    place, size = cleaned.find(rejection.payload), len(rejection.payload)
    original = rejection.payload if place < 0 else payload[place : place + size]
    return replace(rejection, payload=original, detail=f"{rejection.detail} ({_NOTE})")
