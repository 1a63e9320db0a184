"""What COPY reads back is what was written."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import copytext

ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
printable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


def read_back(column: str) -> str | None:
    """As PostgreSQL reads one column of COPY's text form: first nothing, then the escapes."""
    if column == copytext.NOTHING:
        return None
    return re.sub(r"\\(.)", lambda match: ESCAPES.get(match[1], match[1]), column)


@given(printable)
def test_texts_stay_in_their_column_and_come_back(text: str) -> None:
    written = copytext.label(text)
    assert not set("\t\n\r") & set(written)
    assert read_back(written) == text


@given(printable, st.sampled_from(["", "\n", "\r\n\t"]))
def test_documents_stay_in_their_column_and_come_back(text: str, space: str) -> None:
    """A document is JSON, and so never the word for nothing."""
    document = f"[{space}{json.dumps(text, ensure_ascii=False)}]"
    written = copytext.document(document)
    assert not set("\t\n\r") & set(written)
    assert read_back(written) == document


@given(st.text(st.characters(min_codepoint=32, exclude_categories=["Cs"], exclude_characters="\x7f")))
def test_ids_come_back(text: str) -> None:
    assert read_back(copytext.identifier(text)) == text


@pytest.mark.parametrize("text", ["None", "\\N", "\\.", "\\", "N\\one", "", "null"])
def test_texts_that_look_like_marks_are_texts(text: str) -> None:
    assert read_back(copytext.label(text)) == text
    assert read_back(copytext.identifier(text)) == text


def test_nothing_is_nothing() -> None:
    assert read_back(copytext.label(None)) is None


def test_a_nul_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="has a NUL character"):
        copytext.label("a\0b")


@pytest.mark.parametrize("character", ["\0", "\t", "\n", "\x1f", "\x7f"])
def test_ids_hold_no_control_characters(character: str) -> None:
    with pytest.raises(ValueError, match="has a control character"):
        copytext.identifier(f"ven{character}1")
