"""Redacts secrets of Gridgate's API from texts that are stored or logged."""

import re

SECRET = re.compile(r"(gg|gs|gc|gv)_([0-9a-f]{12})_([0-9a-f]{64})")
"""Of an API key (`gg`), a browser's session (`gs`), an OpenADR client (`gc`), a VEN at the broker (`gv`).

Kind, public id, secret.
"""

SECRET_FIELD = re.compile(r'("bearerToken"\s*:\s*)"(?:[^"\\]|\\.)*"')
"""A JSON field with a secret of another service."""


def without_secrets(text: str) -> str:
    """Return the text with the secret part of each key and session replaced by `...`."""
    return SECRET.sub(lambda match: f"{match[1]}_{match[2]}_...", text)


def without_secret_fields(text: str) -> str:
    """Return JSON without secrets, neither in its fields nor of our API."""
    return SECRET_FIELD.sub(r'\1"..."', without_secrets(text))
