"""Methods of baselines, with their parameters."""

from typing import Annotated, Literal

from msgspec import Meta

from schemas.api.fields import Shape
from schemas.demand_response.baselines import BaselineName, DayChoice


class DayRuleShown(Shape, frozen=True):
    """The mean of the `highest` of the `last` eligible days; no baseline with fewer than `fewest`."""

    highest: int
    last: int
    fewest: int


class AdjustmentShown(Shape, frozen=True):
    """How a baseline is adjusted to the day of the event, and the hours in which both are compared."""

    kind: Literal["none", "multiplicative", "additive", "by-load"]
    from_hours_before: int
    to_hours_before: int
    hours_after: Annotated[list[int], Meta(description="From and to, after the end; empty for none.")]
    cap_percent: Annotated[float | None, Meta(description="Null: no cap.")]


class BaselineMethod(Shape, frozen=True):
    """A baseline and its parameters."""

    name: BaselineName
    meaning: str
    is_primary: Annotated[bool, Meta(description="Events are measured by it first.")]
    is_computed: Annotated[bool, Meta(description="New settlements have it (`EVENT_BASELINES`).")]
    operator: Annotated[str, Meta(description="The operator that defines it; empty without one.")]
    source: str
    source_read: Annotated[
        bool, Meta(description="Whether the source's own text was read for this implementation.")
    ]
    differs: Annotated[str, Meta(description="Known differences from the source.")]
    weekday: Annotated[DayRuleShown | None, Meta(description="Null: it uses the event's day alone.")]
    weekend: DayRuleShown | None
    like_days: Annotated[bool, Meta(description="Saturdays for a Saturday, Sundays for a Sunday.")]
    holidays_count: Annotated[bool, Meta(description="Holidays are candidates, as weekend days.")]
    low_usage_percent: Annotated[float, Meta(description="Days below this part of the mean are dropped.")]
    chosen_by: Annotated[
        DayChoice,
        Meta(
            description="Which of the last days count: those of the highest usage, or those whose highest "
            "temperature is nearest to that of the event's day."
        ),
    ]
    look_back_days: int
    adjustment: AdjustmentShown
