"""How many examples hypothesis draws: a profile for a developer's minute, one for CI, one for a night.

`HYPOTHESIS_PROFILE` chooses the profile. A test whose examples are expensive takes a fraction of the
profile's number by `costly`, so that no test sets a number of its own.
"""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

PROFILES = {"dev": 16, "ci": 100, "night": 2_000}
"""Examples a test, by profile."""

SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture)
"""Each example clears its database, so that a fixture may outlive an example; a busy machine is no fault."""


def load_profile() -> None:
    """Load the profile that the environment names.

    Raises:
        hypothesis.errors.InvalidArgument: there is no such profile.
    """
    for name, examples in PROFILES.items():
        settings.register_profile(
            name, max_examples=examples, deadline=None, suppress_health_check=SLOW, print_blob=True
        )
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


def costly(factor: int) -> Callable[[Any], Any]:
    """A decorator: as many examples as the profile has, divided by what one of them costs."""
    return settings(max_examples=share(factor))


def share(factor: int) -> int:
    """The profile's examples divided by a factor, at least one."""
    return max(1, settings().max_examples // factor)
