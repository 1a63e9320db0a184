"""The counterfactual: the power that the homes of the sample would have used without its event."""

import math
from collections.abc import Iterator
from datetime import datetime

import polars as pl

from analysis.sample import scenario
from local.fleet.telemetry.reports import Reporter, fleet
from schemas.times.instants import from_unix

SLOT_S = 300


def counterfactual(start: datetime, end: datetime) -> pl.DataFrame:
    """A row for each report: `ven_id`, `timestamp` (of its slot of five minutes, UTC), `natural_kw`."""
    rows = [
        (reporter.home.ven_id, from_unix(ts // SLOT_S * SLOT_S), reporter.home.read(ts).natural_kw)
        for reporter in fleet(scenario.SEED, scenario.VENS, scenario.FLEET)
        for ts in _times(reporter, start.timestamp(), end.timestamp())
    ]
    columns = {"ven_id": pl.String(), "timestamp": pl.Datetime("us", "UTC"), "natural_kw": pl.Float64()}
    return pl.DataFrame(rows, schema=pl.Schema(columns), orient="row")


def _times(reporter: Reporter, start: float, end: float) -> Iterator[float]:
    ts = reporter.next_after(math.nextafter(start, 0))
    while ts < end:
        yield ts
        ts = reporter.next_after(ts)
