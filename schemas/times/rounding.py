"""Rounding of powers and energies in responses: three decimals."""

from typing import overload

DECIMALS = 3


@overload
def rounded(value: float) -> float: ...
@overload
def rounded(value: None) -> None: ...
@overload
def rounded(value: float | None) -> float | None: ...
def rounded(value: float | None) -> float | None:
    """Round to three decimals, and to 0.0 instead of -0.0."""
    return None if value is None else round(value, DECIMALS) + 0.0
