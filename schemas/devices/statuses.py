"""Statuses of VENs, compared without case and surrounding white space."""

ONLINE, OFFLINE, MAINTENANCE = "online", "offline", "maintenance"
UNAVAILABLE = (OFFLINE, MAINTENANCE)
"""Statuses of VENs that take part in no event and cannot be controlled."""

_SYNONYMS = {"true": ONLINE, "false": OFFLINE}


def status_word(text: str) -> str:
    """The word in lower case without white space around it; `true` is online, `false` offline.

    Raises:
        ValueError: nothing is left of it, or it is JSON's `null`.
    """
    word = text.strip().lower()
    if not word or word == "null":
        raise ValueError("is no word; send online, offline, maintenance or another word")
    return _SYNONYMS.get(word, word)
