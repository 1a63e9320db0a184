"""A year of the sample's homes as an archive without a database, in the files that the job `archive` writes.

Twelve days are simulated, the 15th of each month with a report each quarter of an hour; the other days of the
month are copies of it.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

import polars as pl

from analysis.sample.scenario import SEED, VENS
from local.fleet.telemetry.reports import FleetSettings, Reporter, fleet
from schemas.archive.folder import ArchiveFolder
from schemas.archive.manifest import Manifest, as_json, file_path, manifest_path
from schemas.archive.parquet import write_file
from schemas.tables.raw import TelemetryFrame, ven_telemetry
from schemas.times.instants import from_unix

YEAR = 2025
INTERVAL_S = 900.0
ARCHIVE_ID = "sample-year"
DAY = timedelta(days=1)
MONTHS = 12


def write_year(url: str) -> int:
    """Write telemetry of all days of 2025 into an empty folder; returns the number of reports."""
    folder, rows = ArchiveFolder(url), 0
    for month in range(1, MONTHS + 1):
        middle = date(YEAR, month, 15)
        reports = _simulated(middle)
        for day in _days_of(middle):
            rows += _write(folder, day, _moved(reports, day - middle))
    return rows


def _days_of(middle: date) -> Iterator[date]:
    day = middle.replace(day=1)
    while day.month == middle.month:
        yield day
        day += DAY


def _simulated(day: date) -> pl.DataFrame:
    """Return the reports of a day, sorted by VEN and time."""
    midnight = datetime.combine(day, time(), UTC).timestamp()
    reporters = sorted(fleet(SEED, VENS, FleetSettings(INTERVAL_S)), key=lambda each: each.home.ven_id)
    rows = [row for reporter in reporters for row in _rows(reporter, midnight, midnight + 86_400)]
    return pl.DataFrame(rows, schema=TelemetryFrame.types())


def _rows(reporter: Reporter, start: float, end: float) -> Iterator[dict[str, object]]:
    ts = reporter.next_after(start)
    while ts < end:
        reading = reporter.read(ts)
        yield dict.fromkeys(TelemetryFrame.types()) | {
            "ven_id": reporter.home.ven_id,
            "ts": from_unix(ts),
            "used_power_kw": round(reading.used_kw, 3),
            "shed_power_kw": 0.0,
            "payload": "{}",
            "received_at": from_unix(ts),
            "batch_id": 0,
        }
        ts = reporter.next_after(ts)


def _moved(reports: pl.DataFrame, by: timedelta) -> pl.DataFrame:
    return reports.with_columns(pl.col("ts", "received_at") + by)


def _write(folder: ArchiveFolder, day: date, reports: pl.DataFrame) -> int:
    """Write a day's file and its manifest; returns the number of rows."""
    table = str(ven_telemetry.name)
    file = write_file(folder, file_path(table, day, 1), table, [reports])
    manifest = Manifest(ARCHIVE_ID, day, 1, [] if file is None else [file])
    folder.write(manifest_path(day), as_json(manifest))
    return manifest.rows
