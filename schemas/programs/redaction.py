"""Secrets of Gridgate's API in texts that are stored or logged."""

import re

SECRET = re.compile(r"(gg|gs|gc|gv)_([0-9a-f]{12})_([0-9a-f]{64})")
"""Of an API key (`gg`), a browser's session (`gs`), an OpenADR client (`gc`), a VEN at the broker (`gv`).

Kind, public id, secret.
"""

SECRET_FIELD = re.compile(r'("bearerToken"\s*:\s*)"(?:[^"\\]|\\.)*"')
"""A field of JSON whose text is a secret of somebody else's service."""


def without_secrets(text: str) -> str:
    """The text with the secret part of each key and session replaced by `...`."""
    return SECRET.sub(lambda match: f"{match[1]}_{match[2]}_...", text)


def without_secret_fields(text: str) -> str:
    """JSON without the secrets in its fields, and without ours."""
    return SECRET_FIELD.sub(r'\1"..."', without_secrets(text))
