"""Rounding of powers and energies in answers: three decimals."""

from typing import overload

DECIMALS = 3


@overload
def rounded(value: float) -> float: ...
@overload
def rounded(value: None) -> None: ...
@overload
def rounded(value: float | None) -> float | None: ...
def rounded(value: float | None) -> float | None:
    """Three decimals, and 0.0 instead of the -0.0 that rounding may leave."""
    return None if value is None else round(value, DECIMALS) + 0.0
