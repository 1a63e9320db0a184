"""Identifiers of VENs, loads and events: their valid characters, for both MQTT and HTTP.

The rule is a regular expression in the common dialect of Python, ECMA 262 (with the flag `u`) and JSON
Schema, so that the OpenAPI document has exactly the rule that is checked.
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
"""Embeddings, overrides and isolates: with them an id is displayed as another one."""

WHITE_SPACE = r" \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000\ufeff"
TOPIC_SYNTAX = "/+#"
"""A VEN's id is one level of the topic of its commands, so it must have no separator and no wildcard."""

_REFUSED = CONTROLS + NONCHARACTERS + LINE_BREAKS + BIDIRECTIONAL
"""Without surrogates: UTF-8 has none, and ECMA 262 without `u` finds them in valid characters."""


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
    """Return the text, if it is a valid identifier.

    Raises:
        ValueError: it is not; the message has the reason and the fix.
    """
    if len(text) <= MAX_LENGTH and _IDENTIFIER.search(text):
        return text
    raise ValueError(_fault(text))


def is_topic_level(text: str) -> bool:
    """Return whether an identifier can be one level of a topic to publish on."""
    return not any(character in text for character in TOPIC_SYNTAX)


def _fault(text: str) -> str:
    if not text:
        return "is empty; give it 1 to 255 characters"
    if len(text) > MAX_LENGTH:
        return f"is longer than {MAX_LENGTH} characters; shorten it"
    for pattern, name in _FAULTS:
        if match := pattern.search(text):
            return f"has {name} ({_code(match[0])}); take it out"
    return f"begins or ends with white space ({_code(text[0])} … {_code(text[-1])}); take it off"


def _code(character: str) -> str:
    return f"U+{ord(character):04X}"
