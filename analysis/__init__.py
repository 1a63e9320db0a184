"""The analysts' API: histories, latest values, events and raw rows as Polars frames.

    from analysis import connect

    grid = connect(zone="Europe/Berlin")
    grid.history("1d", aggregate="energy")

`connect` finds the database of `DATABASE_URL`, or that of a running `python -m local`, or asks a service over
HTTP. The answers are those of the HTTP API, by the same planner; instants are shown in the requested zone.
"""

from schemas.programs.extras import require_extra

require_extra("analysis", ["adbc_driver_postgresql", "matplotlib", "psutil"])

from analysis.connection import connect  # noqa: E402 - the extra is checked first
from analysis.database_grid import DatabaseGrid  # noqa: E402
from analysis.grid import Grid  # noqa: E402
from analysis.http_grid import HttpGrid  # noqa: E402

__all__ = ["DatabaseGrid", "Grid", "HttpGrid", "connect"]
