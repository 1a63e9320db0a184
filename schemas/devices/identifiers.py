"""Identifiers of VENs, loads and events: which characters one may have, for MQTT and HTTP alike.

The rule is a regular expression in the dialect that Python, ECMA 262 (with the flag `u`) and JSON Schema
share, so that the OpenAPI document says exactly what is checked.
"""

import re

MAX_LENGTH = 255

CONTROLS = r"\x00-\x1f\x7f-\x9f"
SURROGATES = r"\ud800-\udfff"
NONCHARACTERS = r"\ufdd0-\ufdef\ufffe\uffff" + "".join(
    chr(plane << 16 | last) for plane in range(1, 17) for last in (0xFFFE, 0xFFFF)
)
LINE_BREAKS = r"\u2028\u2029"
BIDIRECTIONAL = r"\u202a-\u202e\u2066-\u2069"
"""Embeddings, overrides and isolates: with them an id is shown as another one."""

WHITE_SPACE = r" \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\ufeff"
TOPIC_SYNTAX = "/+#"
"""A VEN's id is one level of the topic of its commands, so it holds no separator and no wildcard there."""

_REFUSED = CONTROLS + NONCHARACTERS + LINE_BREAKS + BIDIRECTIONAL
"""Without surrogates: no UTF-8 text has one, and ECMA 262 without `u` sees them in good characters."""


def _pattern(also_refused: str = "") -> str:
    space = f"[{WHITE_SPACE}]"
    return f"^(?!{space})(?!.*{space}$)[^{also_refused}{_REFUSED}]+(?!\\n)$"


PATTERN = _pattern()
SEGMENT_PATTERN = _pattern("/")
TOPIC_LEVEL_PATTERN = _pattern(TOPIC_SYNTAX)

_IDENTIFIER = re.compile(_pattern(SURROGATES))
_FAULTS = tuple(
    (re.compile(f"[{characters}]"), name)
    for characters, name in (
        (CONTROLS, "a control character"),
        (SURROGATES, "half of a surrogate pair"),
        (NONCHARACTERS, "a non-character"),
        (LINE_BREAKS, "a line separator"),
        (BIDIRECTIONAL, "a bidirectional control"),
    )
)


def require_identifier(text: str) -> str:
    """The text, if it may be an identifier.

    Raises:
        ValueError: it may not; the message has the reason and the fix.
    """
    if len(text) <= MAX_LENGTH and _IDENTIFIER.search(text):
        return text
    raise ValueError(_fault(text))


def is_topic_level(text: str) -> bool:
    """Whether an identifier can stand in a topic to publish on, as one level of it."""
    return not any(character in text for character in TOPIC_SYNTAX)


def _fault(text: str) -> str:
    if not text:
        return "is empty; give it 1 to 255 characters"
    if len(text) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters; shorten it"
    for pattern, name in _FAULTS:
        if found := pattern.search(text):
            return f"has {name} ({_code(found[0])}); take it out"
    return f"begins or ends with white space ({_code(text[0])} … {_code(text[-1])}); take it off"


def _code(character: str) -> str:
    return f"U+{ord(character):04X}"
