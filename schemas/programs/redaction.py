"""Secrets of Gridgate's API in texts that are stored or logged."""

import re

SECRET = re.compile(r"(gg|gs)_([0-9a-f]{12})_([0-9a-f]{64})")
"""An API key (`gg`) or a browser's session (`gs`): kind, public id, secret part."""


def without_secrets(text: str) -> str:
    """The text with the secret part of each key and session replaced by `...`."""
    return SECRET.sub(lambda match: f"{match[1]}_{match[2]}_...", text)
