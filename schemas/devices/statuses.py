"""Statuses of VENs, compared without regard to case and surrounding white space."""

ONLINE, OFFLINE, MAINTENANCE = "online", "offline", "maintenance"
UNAVAILABLE = (OFFLINE, MAINTENANCE)
"""Statuses of VENs that take part in no event and cannot be controlled."""

_SYNONYMS = {"true": ONLINE, "false": OFFLINE}


def status_word(text: str) -> str:
    """Return the word in lower case without surrounding white space; `true` is online, `false` offline.

    Raises:
        ValueError: it is empty, or JSON's `null`.
    """
    word = text.strip().lower()
    if not word or word == "null":
        raise ValueError("is not a word; send online, offline, maintenance or another word")
    return _SYNONYMS.get(word, word)
