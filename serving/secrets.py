"""Secrets that callers show us: made once, told once, and kept as digests only.

A secret is 256 random bits. Slow hashes make guessing expensive where people choose passwords; nobody guesses
these, so a plain SHA-256 is as good, and does not cost a tenth of a second for each request.
"""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

SECRET = re.compile(r"(gg|gs)_([0-9a-f]{12})_([0-9a-f]{64})")
KEY = "gg"
SESSION = "gs"
NOBODYS = bytes(32)


@dataclass(frozen=True)
class Secret:
    """What we look up by (`public_id`), and what we compare (`digest`)."""

    kind: str
    public_id: str
    digest: bytes


def make_secret(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(6)}_{secrets.token_hex(32)}"


def read_secret(text: str) -> Secret | None:
    """None for what cannot be one of ours."""
    match = SECRET.fullmatch(text)
    if match is None:
        return None
    return Secret(match[1], match[2], hashlib.sha256(match[3].encode()).digest())


def is_same(digest: bytes | None, shown: Secret) -> bool:
    """Compared in constant time; an unknown id takes as long as a known one."""
    return hmac.compare_digest(digest or NOBODYS, shown.digest) and digest is not None


def without_secrets(text: str) -> str:
    """The text as it may be kept, should somebody have put a secret into it."""
    return SECRET.sub(lambda match: f"{match[1]}_{match[2]}_...", text)
