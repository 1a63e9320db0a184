"""Compare two JSON answers: numbers with a tolerance, everything else exactly."""

import math
from typing import Any


def assert_same(actual_json: Any, expected_json: Any, tolerance: float = 0.002) -> None:
    """Fail with the path of the first difference, such as `$.points[3].usedPowerKw`."""
    difference = first_difference(actual_json, expected_json, tolerance)
    assert difference is None, difference


def first_difference(actual: Any, expected: Any, tolerance: float = 0.002, path: str = "$") -> str | None:
    if isinstance(expected, dict) and isinstance(actual, dict):
        return _in_objects(actual, expected, tolerance, path)
    if isinstance(expected, list) and isinstance(actual, list):
        return _in_arrays(actual, expected, tolerance, path)
    if _is_number(expected) and _is_number(actual):
        # The hair is for answers that differ by the tolerance itself, which has no exact float.
        same = math.isclose(actual, expected, rel_tol=0, abs_tol=tolerance + 1e-9)
    else:
        same = type(actual) is type(expected) and actual == expected
    return None if same else f"{path}: got {actual!r}, expected {expected!r}"


def _in_objects(actual: dict[str, Any], expected: dict[str, Any], tolerance: float, path: str) -> str | None:
    for key in sorted(expected.keys() | actual.keys()):
        if key not in actual:
            return f"{path}.{key}: missing, expected {expected[key]!r}"
        if key not in expected:
            return f"{path}.{key}: got {actual[key]!r}, expected no such key"
        difference = first_difference(actual[key], expected[key], tolerance, f"{path}.{key}")
        if difference:
            return difference
    return None


def _in_arrays(actual: list[Any], expected: list[Any], tolerance: float, path: str) -> str | None:
    for i, (one, other) in enumerate(zip(actual, expected, strict=False)):
        difference = first_difference(one, other, tolerance, f"{path}[{i}]")
        if difference:
            return difference
    if len(actual) == len(expected):
        return None
    longer, i = (actual, len(expected)) if len(actual) > len(expected) else (expected, len(actual))
    side = "too many" if longer is actual else "too few"
    return f"{path}: {side} ({len(actual)}, expected {len(expected)}), from [{i}]: {longer[i]!r}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
