"""One rule for identifiers, held against Unicode's own tables for every code point."""

import re
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.devices.identifiers import (
    MAX_LENGTH,
    PATTERN,
    SEGMENT_PATTERN,
    TOPIC_LEVEL_PATTERN,
    is_topic_level,
    require_identifier,
)

CODE_POINTS = range(0x11_0000)
BIDIRECTIONAL = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def is_refused_anywhere(character: str) -> bool:
    """By Unicode's categories, not by our ranges."""
    code = ord(character)
    is_noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    is_control = unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"}
    return is_control or is_noncharacter or unicodedata.bidirectional(character) in BIDIRECTIONAL


def is_white_space(character: str) -> bool:
    return character.isspace() or character == "\ufeff"


def is_accepted(text: str) -> bool:
    try:
        return require_identifier(text) == text
    except ValueError:
        return False


def is_identifier(text: str) -> bool:
    """The rule in words."""
    return (
        1 <= len(text) <= 255
        and not any(map(is_refused_anywhere, text))
        and not is_white_space(text[0])
        and not is_white_space(text[-1])
    )


def test_every_code_point_within_an_id() -> None:
    wrong = [hex(c) for c in CODE_POINTS if is_accepted(f"a{chr(c)}b") == is_refused_anywhere(chr(c))]
    assert wrong == []


@pytest.mark.thorough
@pytest.mark.parametrize("form", ["{}", "{}a", "a{}", "a{}\n"])
def test_every_code_point_at_the_ends(form: str) -> None:
    wrong = [
        hex(c) for c in CODE_POINTS if is_accepted(form.format(chr(c))) != is_identifier(form.format(chr(c)))
    ]
    assert wrong == []


texts = st.text(st.characters(codec=None) | st.sampled_from(" \t\n\x85\u202e\ufffe\u00a0/+#"), max_size=12)


@given(texts)
@example("")
@example("a" * MAX_LENGTH)
@example("a" * (MAX_LENGTH + 1))
@example("v\U0001f600n-1")
@example("/DE/G1/INV/1")
def test_texts(text: str) -> None:
    assert is_accepted(text) == is_identifier(text)


@given(texts.filter(lambda text: not re.search("[\ud800-\udfff]", text)))
def test_the_published_pattern_is_the_rule(text: str) -> None:
    """But for the length, which stands beside it, and surrogates, which no JSON text can hold."""
    assert bool(re.search(PATTERN, text)) == is_identifier(text)
    assert bool(re.search(SEGMENT_PATTERN, text)) == (is_identifier(text) and "/" not in text)
    assert bool(re.search(TOPIC_LEVEL_PATTERN, text)) == (is_identifier(text) and is_topic_level(text))


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "is empty; give it 1 to 255 characters"),
        ("a" * 256, "is longer than 255 characters; shorten it"),
        ("a\0", "has a control character (U+0000); take it out"),
        ("a\x7f", "has a control character (U+007F); take it out"),
        ("a\x85b", "has a control character (U+0085); take it out"),
        ("a\ud800", "has half of a surrogate pair (U+D800); take it out"),
        ("a\ufdd0b", "has a non-character (U+FDD0); take it out"),
        ("a\U0010ffff", "has a non-character (U+10FFFF); take it out"),
        ("a\u2028b", "has a line separator (U+2028); take it out"),
        ("ven\u202e1", "has a bidirectional control (U+202E); take it out"),
        ("ven-1\u00a0", "begins or ends with white space (U+0076 … U+00A0); take it off"),
        (" ", "begins or ends with white space (U+0020 … U+0020); take it off"),
    ],
)
def test_the_fault_and_its_fix_are_named(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(fault) + "$"):
        require_identifier(text)


@pytest.mark.parametrize("text", ["a/b", "+", "a#"])
def test_what_cannot_be_told_commands(text: str) -> None:
    assert is_accepted(text)
    assert not is_topic_level(text)
    assert is_topic_level("ven-1")
