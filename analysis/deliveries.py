"""An event's performance as a frame. Pure."""

import msgspec
import polars as pl

from schemas.api.performance import Delivery, EventPerformance

_OWN: dict[str, pl.DataType | type[pl.DataType]] = {
    "event_id": pl.String,
    "baseline": pl.String,
    "revision": pl.Int64,
    "settled_at": pl.Datetime("us", "UTC"),
    "ven_id": pl.String,
}
_POWERS = ("requested_kw", "requested_kwh", "baseline_kw", "actual_kw", "delivered_kw", "delivered_kwh")
_INTERVAL = ("delivered_low_kw", "delivered_high_kw")
_SHARES = ("performance_percent", "coverage_percent", "rrmse_percent")
_ADJUSTMENT = {"adjustment": pl.String, "adjustment_kw": pl.Float64, "adjustment_reason": pl.String}
SCHEMA = pl.Schema(
    {
        **_OWN,
        **dict.fromkeys(_POWERS + _INTERVAL + _SHARES, pl.Float64),
        "days_used": pl.Int64,
        **_ADJUSTMENT,
        "note": pl.String,
    }
)


def deliveries(performance: EventPerformance) -> pl.DataFrame:
    """The portfolio's row, whose `ven_id` is null, then one for each VEN.

    Columns: `event_id`, `baseline`, `revision` and `settled_at` (null while it is provisional), `ven_id`;
    powers in kW, energies over the hours of the event; `delivered_low_kw` and `delivered_high_kw`, the ends
    of the 90 % interval of `delivered_kw` (null: too few similar days); shares in percent; `days_used`,
    `note`.
    """
    rows = [_row(performance, each) for each in (performance.portfolio, *performance.vens)]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _row(performance: EventPerformance, delivery: Delivery) -> dict[str, object]:
    own = {
        "event_id": performance.event_id,
        "revision": performance.revision,
        "settled_at": performance.settled_at,
    }
    return own | {"baseline": performance.baseline.name, "ven_id": None} | msgspec.structs.asdict(delivery)
