"""The error of each baseline on days without events, by kind of home: `python -m
analysis.baseline_accuracy`.

The homes are simulated, so the result depends on the arguments alone. Bias: predicted less used, the
mean over homes, days and hours, kW; positive: homes are credited with it for nothing. RRMSE: of the hours,
in percent of the mean of what was used or fed in.
"""

import argparse
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import polars as pl

from local.fleet.homes.household import FURNISHINGS, Household
from local.options import homes
from schemas.baseline_model.days import Calendar, Occasion
from schemas.baseline_model.prediction import days_of, predict
from schemas.demand_response.baselines import METHODS
from schemas.programs.command_line import program_parser
from schemas.tables.history import SLOT_S

START = datetime(2026, 7, 16, 17, tzinfo=UTC)
OCCASION = Occasion(START, START + timedelta(hours=2), START - timedelta(hours=1))
CALENDAR = Calendar()
CAP = 0.2
SEED = 11
NO_EVENTS = pl.DataFrame(
    schema={"ven_id": pl.String, "start": pl.Datetime("us", "UTC"), "end": pl.Datetime("us", "UTC")}
)


def accuracy(homes: int, kinds: Sequence[str] = tuple(FURNISHINGS)) -> pl.DataFrame:
    """`kind`, `baseline`, `used_kw`, `bias_kw`, `rrmse_percent`."""
    return pl.concat([_of_kind(kind, homes) for kind in kinds])


def _of_kind(kind: str, homes: int) -> pl.DataFrame:
    names = list(METHODS)
    slots = list(_slots())
    rows = [
        {"ven_id": home.ven_id, "slot": slot, "used_kw": home.read(slot.timestamp() + SLOT_S / 2).used_kw}
        for home in (Household(SEED, number, furnishing=kind) for number in range(1, homes + 1))
        for slot in slots
    ]
    history = pl.DataFrame(rows, schema_overrides={"slot": pl.Datetime("us", "UTC")})
    errors = predict(history, NO_EVENTS, OCCASION, CALENDAR, CAP, names=names).errors
    error_kw = pl.col("predicted_kw") - pl.col("used_kw")
    return (
        errors.group_by("baseline")
        .agg(
            used_kw=pl.col("used_kw").mean(),
            bias_kw=error_kw.mean(),
            rrmse_percent=100 * error_kw.pow(2).mean().sqrt() / pl.col("used_kw").abs().mean(),
        )
        .sort(pl.col("baseline").replace_strict(names, range(len(names))))
        .select(pl.lit(kind).alias("kind"), pl.all())
    )


def _slots() -> Iterator[datetime]:
    for part in days_of(OCCASION, CALENDAR, list(METHODS)).needed():
        slot = part.start
        while slot < part.end:
            yield slot
            slot += timedelta(seconds=SLOT_S)


def main() -> None:
    """Print the table."""
    rows = accuracy(_parser().parse_args().homes)
    print("| kind | baseline | used kW | bias kW | RRMSE % |")  # noqa: T201
    print("| --- | --- | --- | --- | --- |")  # noqa: T201
    for kind, baseline, used_kw, bias_kw, rrmse in rows.iter_rows():
        print(f"| {kind} | `{baseline}` | {used_kw:.2f} | {bias_kw:+.2f} | {rrmse:.0f} |")  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = program_parser(
        "analysis.baseline_accuracy",
        "Print how far baselines of simulated homes are off, by kind of home.",
        [],
        ["", "--homes 12"],
    )
    parser.add_argument("--homes", type=homes, default=20, help="of each kind (%(default)s)")
    return parser


if __name__ == "__main__":
    main()
