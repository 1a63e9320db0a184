"""The analysts' API: histories, latest values, events and raw rows as Polars frames.

    from analysis import connect

    grid = connect(zone="Europe/Berlin")
    grid.history("1d", aggregate="energy")

`connect` finds the database of `DATABASE_URL`, or that of a running `python -m local`, or asks a service over
HTTP. The answers are those of the HTTP API, by the same planner; instants are shown in the requested zone.
"""

from analysis.connection import connect
from analysis.database_grid import DatabaseGrid
from analysis.grid import Grid
from analysis.http_grid import HttpGrid

__all__ = ["DatabaseGrid", "Grid", "HttpGrid", "connect"]
