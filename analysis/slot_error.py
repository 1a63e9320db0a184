"""The error of slot energies, by how a meter reports: `python -m analysis.slot_error`.

The homes are simulated, so the result depends on the arguments alone. The true power is the mean of a
reading each second. `1 min`: evenly; `burst`: four samples a minute apart, then sixty a second apart, in
every slot; `15 min`, `30 min`: the mean of the time, as a meter sends it, in each slot of five minutes
within.
"""

import argparse
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from local.fleet.homes.household import FURNISHINGS, Household
from local.options import homes
from schemas.programs.command_line import program_parser
from schemas.tables.history import SLOT_S

DAY_S = 86_400
START = 1_784_160_000  # 2026-07-16
SEED = 11
Powers = NDArray[np.float64]
"""kW by second."""

Meter = Callable[[Powers], Powers]
"""From the powers of a day to the mean power of each slot, kW."""

BURST = [0, 60, 120, 180, *range(240, SLOT_S)]


def _sampled(seconds: Sequence[int]) -> Meter:
    return lambda powers: powers.reshape(-1, SLOT_S)[:, list(seconds)].mean(axis=1)


def _metered(width_s: int) -> Meter:
    return lambda powers: np.repeat(powers.reshape(-1, width_s).mean(axis=1), width_s // SLOT_S)


METERS: dict[str, Meter] = {
    "1 min": _sampled(range(0, SLOT_S, 60)),
    "burst": _sampled(BURST),
    "15 min": _metered(900),
    "30 min": _metered(1_800),
}


def errors(kind: str, count: int) -> dict[str, tuple[float, float]]:
    """By meter: the RMS error of a slot, kW, and the mean absolute error of a day's energy, percent."""
    days = [_powers(Household(SEED, number, furnishing=kind)) for number in range(1, count + 1)]
    true = np.stack([powers.reshape(-1, SLOT_S).mean(axis=1) for powers in days])
    scale = np.abs(true).sum(axis=1)
    errors_by_meter = {}
    for name, meter in METERS.items():
        error_kw = np.stack([meter(powers) for powers in days]) - true
        of_day = np.abs(error_kw.sum(axis=1)) / scale
        errors_by_meter[name] = (float(np.sqrt((error_kw**2).mean())), float(100 * of_day.mean()))
    return errors_by_meter


def _powers(home: Household) -> Powers:
    return np.array([home.read(START + second).used_kw for second in range(DAY_S)])


def main() -> None:
    """Print the table."""
    each = _parser().parse_args().homes
    print("| kind | meter | RMS error of a slot, kW | error of a day's energy, % |")  # noqa: T201
    print("| --- | --- | --- | --- |")  # noqa: T201
    for kind in FURNISHINGS:
        for meter, (rms_kw, percent) in errors(kind, each).items():
            print(f"| {kind} | {meter} | {rms_kw:.3f} | {percent:.2f} |")  # noqa: T201


def _parser() -> argparse.ArgumentParser:
    parser = program_parser(
        "analysis.slot_error",
        "Print how far the energy of slots is off, by how a meter reports.",
        [],
        ["", "--homes 12"],
    )
    parser.add_argument("--homes", type=homes, default=3, help="of each kind (%(default)s)")
    return parser


if __name__ == "__main__":
    main()
