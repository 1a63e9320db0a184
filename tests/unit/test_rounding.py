"""Rounding by the thousand is rounding one by one."""

from hypothesis import example, given
from hypothesis import strategies as st

from serving.history.points import all_rounded

near_a_tie = st.integers(-(2**42), 2**42).map(lambda thousandths: (thousandths + 0.5) / 1000)


@given(st.lists(st.floats(-(2.0**40), 2.0**40) | near_a_tie))
@example([0.0005, 0.0015, -0.0005, 2.0005, 1.0005, -0.0004, 0.0, -0.0, 5e-324, 1.4999e-3])
def test_all_are_rounded_as_each_is(values: list[float]) -> None:
    rounded = all_rounded(values)
    assert rounded == [round(value, 3) for value in values]
    assert "-0.0" not in map(repr, rounded)
