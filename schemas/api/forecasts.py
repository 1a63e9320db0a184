"""Forecasts of usage and shed capability."""

from typing import Annotated

from msgspec import UNSET, Meta, UnsetType

from schemas.api.fields import Count, Instant, Shape
from schemas.api.histories import TypeOfPoint

HalfHour = Annotated[
    Instant,
    Meta(
        description="Start of the half hour, a multiple of 30 minutes since the Unix epoch.",
        examples=["2026-01-15T18:00:00Z"],
    ),
]
UsedKw = Annotated[
    float | None,
    Meta(description="Mean power used, kW, negative where it is fed in; null with too few similar days."),
]
SheddableKw = Annotated[
    float | None,
    Meta(description="Mean shed capability of enabled loads, kW; null with too few similar days."),
]
SimilarDays = Annotated[Count, Meta(description="How many similar days have enough samples at that time.")]
ForecastOrigin = Annotated[
    Instant | None,
    Meta(description="The first half hour of the forecast when it was computed; null without one."),
]
ForecastNote = Annotated[str, Meta(description="Present if a forecast is missing: what it lacks.")]


class ForecastPoint(Shape, frozen=True, gc=False):
    """One half hour of all loads: with a probability of 10 % it is below P10, with 10 % above P90."""

    timestamp: HalfHour
    used_p10_kw: UsedKw
    used_p50_kw: UsedKw
    used_p90_kw: UsedKw
    used_days: SimilarDays
    shed_capability_p10_kw: SheddableKw
    shed_capability_p50_kw: SheddableKw
    shed_capability_p90_kw: SheddableKw
    shed_capability_days: SimilarDays


class LoadTypeForecastPoint(Shape, frozen=True, gc=False):
    """One half hour of the loads of a type."""

    type: TypeOfPoint
    timestamp: HalfHour
    used_p10_kw: UsedKw
    used_p50_kw: UsedKw
    used_p90_kw: UsedKw
    used_days: SimilarDays
    shed_capability_p10_kw: SheddableKw
    shed_capability_p50_kw: SheddableKw
    shed_capability_p90_kw: SheddableKw
    shed_capability_days: SimilarDays


class Forecast(Shape, frozen=True):
    """Usage and shed capability of all loads together, by half hour."""

    origin: ForecastOrigin
    time_zone: Annotated[str, Meta(description="The zone whose days are similar, `TIME_ZONE`.")]
    points: list[ForecastPoint]
    note: ForecastNote | UnsetType = UNSET


class LoadTypeForecasts(Shape, frozen=True):
    """Usage and shed capability by load type and half hour, one type after the other."""

    origin: ForecastOrigin
    time_zone: Annotated[str, Meta(description="The zone whose days are similar, `TIME_ZONE`.")]
    points: list[LoadTypeForecastPoint]
    note: ForecastNote | UnsetType = UNSET
