"""Deliveries of VENs in events, and series of baselines."""

from typing import Annotated, Literal

from msgspec import Meta

from schemas.api.fields import Count, Instant, Shape
from schemas.api.histories import BucketStart
from schemas.demand_response.baselines import BaselineName

AppliedAdjustment = Literal["none", "multiplicative", "additive", "mixed"]


class BaselineChosen(Shape, frozen=True):
    """The baseline of the measurement: the estimated usage without the event."""

    name: BaselineName
    meaning: str


class Revision(Shape, frozen=True):
    """One settlement, which never changes; later data lead to the next revision."""

    revision: Annotated[int, Meta(ge=1)]
    settled_at: Instant


class Delivery(Shape, frozen=True):
    """What was delivered. A power is the energy of the covered time over the hours of the event."""

    requested_kw: float
    requested_kwh: Annotated[
        float | None,
        Meta(description="Of a VEN the integral of its shares over time; null in old revisions at most."),
    ]
    baseline_kw: float | None
    actual_kw: Annotated[float | None, Meta(description="The measured usage.")]
    delivered_kw: Annotated[
        float | None,
        Meta(
            description="Baseline less usage, negative where more was used; of an event that requests more, "
            "usage less baseline. Null: unknown."
        ),
    ]
    delivered_kwh: float | None
    delivered_low_kw: Annotated[
        float | None,
        Meta(
            description="From here to `deliveredHighKw` lies what was delivered, in `intervalPercent` of a "
            "hundred cases, by what the baseline misses on similar days. Null: too few of these."
        ),
    ]
    delivered_high_kw: float | None
    performance_percent: Annotated[
        float | None, Meta(description="Of what was requested; null where nothing was.")
    ]
    coverage_percent: Annotated[
        float | None, Meta(description="The event's time that has both usage and a baseline.")
    ]
    rrmse_percent: Annotated[
        float | None,
        Meta(
            description="How far off the baseline is on days without events: its relative root mean square "
            "error, by the hour."
        ),
    ]
    days_used: Annotated[Count, Meta(description="Similar days from which the baseline is computed.")]
    adjustment: Annotated[
        AppliedAdjustment | None,
        Meta(description="How the baseline was adjusted to the day; null where that was not recorded."),
    ]
    adjustment_kw: Annotated[float | None, Meta(description="What that adds, the mean over the event.")]
    adjustment_reason: Annotated[str | None, Meta(description="Why; of the portfolio, for how many VENs.")]
    note: Annotated[str | None, Meta(description="A note about these figures.")]


class VenDelivery(Delivery, frozen=True, kw_only=True):
    """What one VEN delivered."""

    ven_id: str


class EventPerformance(Shape, frozen=True):
    """What an event delivered; provisional while it is not settled, and then without VENs and revisions."""

    event_id: str
    provisional: bool
    baseline: BaselineChosen
    revision: int | None
    settled_at: Instant | None
    revisions: list[Revision]
    baselines: Annotated[list[BaselineName], Meta(description="The available baselines.")]
    interval_percent: Annotated[
        int,
        Meta(description="Confidence of the intervals from `deliveredLowKw` to `deliveredHighKw`, percent."),
    ]
    portfolio: Delivery
    vens: list[VenDelivery]


class BaselinePoint(Shape, frozen=True, gc=False):
    """Five minutes of a baseline: mean power of one VEN, or summed over VENs."""

    timestamp: BucketStart
    baseline_kw: Annotated[float | None, Meta(description="Null where there is none.")]
    used_power_kw: Annotated[float | None, Meta(description="The measured usage; null if unknown.")]


class BaselineSeries(Shape, frozen=True, kw_only=True):
    """Predicted usage without an event, by five minutes."""

    event_id: Annotated[str, Meta(description="Empty for a time of no event.")]
    ven_id: Annotated[str, Meta(description="Empty for all that take part together.")]
    baseline: BaselineChosen
    start: Instant
    end: Annotated[Instant, Meta(description="Itself not included.")]
    vens: Annotated[Count, Meta(description="How many VENs it is the sum of.")]
    days_used: Annotated[
        Count, Meta(description="Similar days from which it is computed; 0 for several VENs.")
    ]
    adjustment: Annotated[str | None, Meta(description="As in a settlement; null for several VENs.")]
    adjustment_kw: float | None
    adjustment_reason: str | None
    note: str | None
    points: list[BaselinePoint]
