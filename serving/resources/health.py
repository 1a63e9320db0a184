"""Liveness and readiness checks."""

from collections.abc import Callable
from datetime import datetime

from falcon import Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from schemas.api.service import Health, Readiness
from serving.db.engines import Databases
from serving.http.monitoring import RequestMetrics
from serving.http.operations import Operation, ResponseSpec
from serving.http.responses import (
    answer,
)


class LivenessResource:
    @Operation(
        id="getHealth",
        summary="The process is alive",
        tag="health",
        answers={200: ResponseSpec("It is.", Health)},
        needs_database=False,
    )
    def on_get(self, _request: Request, response: Response) -> None:
        answer(response, Health())


class DatabaseCheckResource:
    """Ready: the databases respond, are at the required revision, and are up to date."""

    def __init__(self, databases: Databases, clock: Callable[[], datetime]) -> None:
        self._databases = databases
        self._clock = clock

    @Operation(
        id="getReadiness",
        summary="The database answers, at the revision that this version needs, and is up to date",
        tag="health",
        answers={200: ResponseSpec("Ready.", Readiness)},
    )
    def on_get(self, _request: Request, response: Response) -> None:
        answer(response, self._databases.readiness(self._clock()))


class PrometheusMetricsResource:
    """The sums of all worker processes."""

    def __init__(self, metrics: RequestMetrics) -> None:
        self._metrics = metrics

    @Operation(
        id="getMetrics",
        summary="What this service does, for Prometheus",
        tag="health",
        answers={200: ResponseSpec("The text format of Prometheus.", str, media=("text/plain",))},
        needs_database=False,
    )
    def on_get(self, _request: Request, response: Response) -> None:
        response.data, response.content_type = self._metrics.text(), CONTENT_TYPE_LATEST
