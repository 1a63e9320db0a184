"""Charts render, and describe themselves in words."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from analysis import charts
from analysis.charts import Chart

BEGIN = datetime(2024, 7, 10, tzinfo=UTC)
FRAME = pl.DataFrame(
    {
        "timestamp": [BEGIN + timedelta(hours=hour) for hour in range(4)],
        "name": ["a", "b", "c", "d"],
        "used_power_kw": [1.0, None, 3.0, 2.0],
        "shed_power_kw": [0.0, 0.5, 0.5, 0.0],
    }
)
BOTH = {"used_power_kw": "used", "shed_power_kw": "shed"}
ONE = {"shed_power_kw": "shed"}
TITLE = "What is found is said in the title, which may be long enough to need a second line of the page"
KINDS: dict[str, Callable[[], Chart]] = {
    "lines": lambda: charts.lines(FRAME, BOTH, unit="kW", title=TITLE),
    "steps": lambda: charts.lines(FRAME, ONE, unit="kW", title=TITLE, step=True),
    "areas": lambda: charts.areas(FRAME, ONE, unit="kW", title=TITLE),
    "bars": lambda: charts.bars(FRAME, BOTH, unit="kW", title=TITLE, names="name"),
    "columns": lambda: charts.columns(FRAME, BOTH, unit="kW", title=TITLE, names="name"),
    "heat": lambda: charts.heat(FRAME.drop("timestamp"), unit="kW", title=TITLE, names="name"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_chart_shows_itself(kind: str) -> None:
    chart = KINDS[kind]()
    assert chart._repr_png_().startswith(b"\x89PNG")
    assert repr(chart) == f"<Chart: {TITLE}>"
    assert chart.axes.get_title(loc="left").replace("\n", " ") == TITLE


def test_units_and_the_zone_stand_at_the_axes() -> None:
    local = FRAME.with_columns(pl.col("timestamp").dt.convert_time_zone("Europe/Berlin"))
    chart = charts.lines(local, ONE, unit="power, kW", title="t")
    chart._repr_png_()
    assert chart.axes.get_ylabel() == "power, kW"
    assert chart.axes.get_xlabel() == "time (Europe/Berlin)"
    ticks = [tick.get_text() for tick in chart.axes.get_xticklabels()]
    assert "02:00" in ticks, "midnight UTC is two in the morning"
    assert "00:00" not in ticks


def test_several_series_are_named_and_differ_without_colour() -> None:
    chart = charts.lines(FRAME, BOTH, unit="kW", title="t").shade(BEGIN, BEGIN + timedelta(hours=1), "event")
    chart._repr_png_()
    legend = chart.axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["used", "shed", "event"]
    assert len({line.get_linestyle() for line in chart.axes.get_lines()}) == 2


def test_what_is_unknown_is_not_drawn_as_nothing() -> None:
    chart = charts.bars(FRAME, BOTH, unit="kW", title="t", names="name")
    assert "unknown" in {text.get_text() for text in chart.axes.texts}
