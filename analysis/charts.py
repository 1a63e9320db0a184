"""Charts for print and screen, in one style, one function for each kind.

    charts.lines(day, {"used_power_kw": "drawn"}, unit="kW", title="The fleet draws most at eight")

The title states the finding; axes name their units, and times their zone. Colours are those of Okabe and
Ito, which colour-blind people can distinguish, and lines have dashes, too.
"""

import io
import textwrap
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Self

import polars as pl
from matplotlib import rc_context
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
DASHES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
GREY = "#666666"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.6,
    "figure.constrained_layout.h_pad": 0.1,
    "figure.constrained_layout.w_pad": 0.1,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "savefig.dpi": 110,
}
_PLAIN = {"facecolor": "white", "edgecolor": "none", "pad": 0.8}
SIZE = (8.4, 3.9)
"""Inches: as wide as the text of a page."""

_TITLE_WIDTH = 84
_LEGEND_WIDTH, _BESIDE = 96, 7  # in letters; for the line and margin of an entry


class Chart:
    """A chart that a notebook displays. `figure` and `axes` are Matplotlib's objects."""

    def __init__(self, title: str, x_label: str, y_label: str, size: tuple[float, float] = SIZE) -> None:
        self.title = title
        with rc_context(STYLE):
            self.figure = Figure(figsize=size, layout="constrained")
            self.axes = self.figure.subplots()
        self.axes.set(xlabel=x_label, ylabel=y_label)

    def __repr__(self) -> str:
        return f"<Chart: {self.title}>"

    def _repr_png_(self) -> bytes:
        with rc_context(STYLE):
            self._add_title_and_legend()
            png = io.BytesIO()
            self.figure.savefig(png, format="png", metadata={"Software": None})
        return png.getvalue()

    def shade(self, start: datetime, end: datetime, label: str) -> Self:
        """Mark a range of times."""
        self.axes.axvspan(
            _number(start), _number(end), color="#F0E442", alpha=0.35, linewidth=0, label=label, zorder=0
        )
        return self

    def level(self, value: float, label: str) -> Self:
        """Mark a height."""
        self.axes.axhline(value, color="black", linestyle=":", linewidth=1.4, label=label)
        return self

    def _add_title_and_legend(self) -> None:
        """Add the title, and below it, outside the axes, the legend."""
        title = textwrap.fill(self.title, _TITLE_WIDTH)
        handles, labels = self.axes.get_legend_handles_labels()
        if not labels:
            self.axes.set_title(title, loc="left", fontweight="bold", pad=10)
            return
        rows, across = _legend_grid(labels)
        self.axes.legend(handles, labels, ncols=across, loc="lower left", bbox_to_anchor=(-0.01, 1.0))
        self.axes.set_title(title, loc="left", fontweight="bold", pad=12 + 15.5 * rows)


def lines(
    frame: pl.DataFrame,
    series: Mapping[str, str],
    *,
    unit: str,
    title: str,
    x: str = "timestamp",
    step: bool = False,
) -> Chart:
    """Lines over `x`, a time or a number. `series`: labels by column. Nulls are gaps."""
    chart = _over_time(frame, x, title, unit)
    for number, (column, label) in enumerate(series.items()):
        chart.axes.plot(
            _positions(frame.get_column(x)),
            frame.get_column(column).to_list(),
            color=COLOURS[number % len(COLOURS)],
            linestyle=DASHES[number % len(DASHES)],
            drawstyle="steps-post" if step else "default",
            label=label if len(series) > 1 else None,
        )
    return chart


def areas(
    frame: pl.DataFrame, series: Mapping[str, str], *, unit: str, title: str, x: str = "timestamp"
) -> Chart:
    """Stacked areas over `x`, without negative values."""
    chart = _over_time(frame, x, title, unit)
    chart.axes.stackplot(
        _positions(frame.get_column(x)),
        *(frame.get_column(column).to_list() for column in series),
        labels=list(series.values()),
        colors=[COLOURS[number % len(COLOURS)] for number in range(len(series))],
        edgecolor="white",
        linewidth=0.5,
    )
    chart.axes.set_ylim(bottom=0)
    return chart


def bars(
    frame: pl.DataFrame,
    series: Mapping[str, str],
    *,
    unit: str,
    title: str,
    names: str,
    form: str = "{:,.0f}",
) -> Chart:
    """Horizontal bars with values: a row for each name, the first on top, with a bar for each series."""
    rows, thickness = frame.height, 0.8 / len(series)
    chart = Chart(title, unit, "", (SIZE[0], 1.3 + 0.3 * rows * max(1.0, 0.6 * len(series))))
    for number, (column, label) in enumerate(series.items()):
        positions = [row + (number - (len(series) - 1) / 2) * thickness for row in range(rows)]
        rectangles = chart.axes.barh(
            positions,
            frame.get_column(column).fill_null(0).to_list(),
            height=0.9 * thickness,
            color=COLOURS[number],
            label=label if len(series) > 1 else None,
        )
        chart.axes.bar_label(
            rectangles, _value_labels(frame.get_column(column), form), padding=3, fontsize=9, bbox=_PLAIN
        )
    chart.axes.set_yticks(range(rows), frame.get_column(names).to_list())
    chart.axes.invert_yaxis()
    chart.axes.grid(visible=False, axis="y")
    chart.axes.axvline(0, color=GREY, linewidth=0.8)
    chart.axes.margins(x=0.1)
    chart.axes.xaxis.set_major_formatter("{x:,g}")
    return chart


def columns(frame: pl.DataFrame, series: Mapping[str, str], *, unit: str, title: str, names: str) -> Chart:
    """Stacked vertical bars, one for each row."""
    chart = Chart(title, "", unit)
    bottom = [0.0] * frame.height
    for number, (column, label) in enumerate(series.items()):
        heights = frame.get_column(column).fill_null(0).to_list()
        chart.axes.bar(
            frame.get_column(names).to_list(),
            heights,
            bottom=bottom,
            color=COLOURS[number],
            edgecolor="white",
            linewidth=0.5,
            label=label if len(series) > 1 else None,
        )
        bottom = [below + height for below, height in zip(bottom, heights, strict=True)]
    chart.axes.grid(visible=False, axis="x")
    chart.axes.margins(x=0.01)
    chart.axes.tick_params(axis="x", length=0)
    return chart


def heat(frame: pl.DataFrame, *, names: str, unit: str, title: str, x_label: str = "") -> Chart:
    """A heat map: a cell for each row and each column but `names`; larger is darker. Nulls stay white."""
    columns_ = [name for name in frame.columns if name != names]
    chart = Chart(title, x_label, "", (SIZE[0], max(3.2, 1.4 + 0.19 * frame.height)))
    field = chart.axes.imshow(
        frame.select(columns_).cast(pl.Float64).to_numpy(),
        cmap="cividis_r",
        aspect="auto",
        interpolation="nearest",
    )
    chart.axes.set_xticks(range(len(columns_)), columns_)
    chart.axes.set_yticks(range(frame.height), frame.get_column(names).to_list())
    chart.axes.grid(visible=False)
    chart.figure.colorbar(field, label=unit, pad=0.01)
    return chart


def _legend_grid(labels: Sequence[str]) -> tuple[int, int]:
    """Rows and columns of a legend: as few rows as its labels fit in; columns are filled first."""
    for rows in range(1, len(labels)):
        across = [labels[first : first + rows] for first in range(0, len(labels), rows)]
        if sum(max(map(len, column)) + _BESIDE for column in across) <= _LEGEND_WIDTH:
            return rows, len(across)
    return len(labels), 1


def _over_time(frame: pl.DataFrame, x: str, title: str, unit: str) -> Chart:
    kind = frame.schema[x]
    if not isinstance(kind, pl.Datetime):
        chart = Chart(title, x.replace("_", " "), unit)
    else:
        zone = kind.time_zone or "UTC"
        chart = Chart(title, f"time ({zone})", unit)
        locator = AutoDateLocator(tz=zone, minticks=4, maxticks=9)
        chart.axes.xaxis.set_major_locator(locator)
        formatter = ConciseDateFormatter(locator, tz=zone)
        chart.axes.xaxis.set_major_formatter(formatter)
    chart.axes.margins(x=0.01)
    return chart


def _positions(values: pl.Series) -> list[float]:
    return [_number(value) for value in values]


def _value_labels(values: pl.Series, form: str) -> list[str]:
    return ["unknown" if value is None else form.format(value) for value in values]


def _number(value: datetime | float) -> float:
    """A value on Matplotlib's axis; times are converted to its day numbers."""
    if isinstance(value, datetime):
        return float(date2num(value))
    return float(value)
