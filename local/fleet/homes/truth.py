"""The truth file, to check estimates: the power of each VEN without events, which only a simulation has."""

from pathlib import Path
from typing import Self

import msgspec

from local.fleet.homes.household import Household, HouseholdReading


class TruthError(Exception):
    """The file cannot be written to."""


class TruthFile:
    """JSON lines, one for each report, readable at any moment up to the last whole line.

    Raises:
        TruthError: the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise TruthError(f"--truth: cannot write to {path}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, home: Household, reading: HouseholdReading) -> None:
        self._file.write(msgspec.json.encode(truth(home, reading)) + b"\n")


def truth(home: Household, reading: HouseholdReading) -> dict[str, object]:
    """One line: powers at the panel, kW; `timestamp` in Unix seconds, as in the report."""
    return {
        "venId": home.ven_id,
        "timestamp": reading.ts,
        "eventId": reading.event and reading.event.event_id,
        "counterfactualKw": reading.natural_kw,
        "actualKw": reading.used_kw,
    }
