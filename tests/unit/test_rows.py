"""What may stand in a row."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.storing import rows

CONTROLS = "".join(map(chr, range(32)))
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@given(texts)
def test_control_characters_of_a_label_become_spaces(text: str) -> None:
    written = rows.label(text)
    assert written is not None
    assert len(written) == len(text)
    for before, after in zip(text, written, strict=True):
        assert after == (" " if before in CONTROLS else before)


@given(texts, st.sampled_from(["", "\n", "\r\n\t"]))
def test_a_document_keeps_its_value_on_one_line(text: str, space: str) -> None:
    document = rows.document(f"[{space}{json.dumps(text, ensure_ascii=False)}{space}]".encode())
    assert not set(CONTROLS) & set(document)
    assert json.loads(document) == [text]


def test_nothing_is_nothing() -> None:
    assert rows.label(None) is None


def test_a_nul_is_refused_in_words() -> None:
    with pytest.raises(ValueError, match="has a NUL character"):
        rows.label("a\0b")


@pytest.mark.parametrize("character", ["\0", "\t", "\n", "\x1f", "\x7f"])
def test_ids_hold_no_control_characters(character: str) -> None:
    with pytest.raises(ValueError, match="has a control character"):
        rows.identifier(f"ven{character}1")
