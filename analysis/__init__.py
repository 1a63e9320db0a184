"""A door for notebooks: what the system knows, as Polars frames.

    from analysis import connect

    grid = connect(zone="Europe/Berlin")
    grid.history("1d", aggregate="energy")

`connect` finds the database of `DATABASE_URL`, or that of a running `python -m local`, or asks a service over
HTTP. The answers are those of the API, by the same planner; instants are UTC inside and in the zone asked for
at the rim.
"""

from analysis.connecting import connect
from analysis.database import Database
from analysis.door import Door
from analysis.over_http import OverHttp

__all__ = ["Database", "Door", "OverHttp", "connect"]
