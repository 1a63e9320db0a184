"""A frame passes in one query exactly when pandera lets it pass."""

from typing import Any

import pandera.polars as pa
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import jobs.summaries.models
from schemas.tables import FRAMES, Frame
from schemas.tables.checking import is_right

MODELS = [
    *FRAMES.values(),
    *(
        model
        for model in vars(jobs.summaries.models).values()
        if isinstance(model, type) and issubclass(model, Frame) and model is not Frame
    ),
]
NAN = float("nan")


class EveryCheck(Frame):
    """Each constraint of our models on a column, and nulls where allowed."""

    unique: int = pa.Field(unique=True)
    one: int = pa.Field(eq=1)
    positive: float = pa.Field(gt=0)
    some: float = pa.Field(ge=-1, le=1, nullable=True)
    word: str = pa.Field(isin=["a", "b"])
    flag: bool


class Unheard(Frame):
    """A check that only pandera knows."""

    word: str = pa.Field(str_startswith="a")


def passes(model: type[Frame], frame: pl.DataFrame) -> bool:
    try:
        model.validate(frame)
    except pa.errors.SchemaError:
        return False
    return True


def filled(model: type[Frame], values: dict[str, list[Any]]) -> pl.DataFrame:
    types = model.types()
    return pl.DataFrame({name: pl.Series(name, found, types[name]) for name, found in values.items()})


numbers = st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 1.0, 2.0, NAN, None]), min_size=2, max_size=2)
whole = st.lists(st.sampled_from([0, 1, 2, None]), min_size=2, max_size=2)
words = st.lists(st.sampled_from(["a", "b", "c", None]), min_size=2, max_size=2)
flags = st.lists(st.sampled_from([True, False, None]), min_size=2, max_size=2)
GOOD: dict[str, list[Any]] = {
    "unique": [1, 2],
    "one": [1, 1],
    "positive": [0.5, 1.0],
    "some": [None, -1.0],
    "word": ["a", "b"],
    "flag": [True, False],
}


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "unique": whole,
            "one": whole,
            "positive": numbers,
            "some": numbers,
            "word": words,
            "flag": flags,
        },
    )
)
def test_of_any_values_it_says_what_pandera_says(changed: dict[str, list[Any]]) -> None:
    frame = filled(EveryCheck, GOOD | changed)
    assert is_right(EveryCheck, frame) == passes(EveryCheck, frame)


def test_what_is_right_passes() -> None:
    """Else the comparison with pandera might never have seen anything pass."""
    assert is_right(EveryCheck, filled(EveryCheck, GOOD))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_model_of_ours_is_understood(model: type[Frame]) -> None:
    assert is_right(model, pl.DataFrame(schema=model.types()))


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_other_columns_and_types_do_not_pass(model: type[Frame]) -> None:
    types = model.types()
    first = next(iter(types))
    others = (types | {"more": pl.Int64}, dict(list(types.items())[1:]), types | {first: pl.Duration})
    for schema in others:
        frame = pl.DataFrame(schema=schema)
        assert not is_right(model, frame)
        with pytest.raises(pa.errors.SchemaError):
            model.checked(frame)


def test_the_order_of_columns_is_free() -> None:
    frame = filled(EveryCheck, GOOD)
    assert is_right(EveryCheck, frame.select(reversed(frame.columns)))


def test_of_a_check_that_is_unheard_of_pandera_is_asked() -> None:
    good, bad = (pl.DataFrame({"word": [word]}) for word in ("ab", "ba"))
    assert not is_right(Unheard, good)
    assert Unheard.checked(good).equals(good)
    with pytest.raises(pa.errors.SchemaError, match="str_startswith"):
        Unheard.checked(bad)
