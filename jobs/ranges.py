"""The time ranges of `schemas.time_ranges` by the name that they had here."""

from schemas.time_ranges import DAY_S, days, even_parts, ranges_of_days, widened, without
from schemas.time_ranges import TimeRange as Range

__all__ = ["DAY_S", "Range", "days", "even_parts", "ranges_of_days", "widened", "without"]
