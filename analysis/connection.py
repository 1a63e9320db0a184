"""The composition root of a notebook: the only place here that reads the environment and the clock."""

import os
from datetime import UTC, datetime

from analysis.database_grid import DatabaseGrid
from analysis.grid import Grid
from analysis.http_grid import HttpGrid
from local.options import default_data_dir
from local.postgres import EmbeddedPostgres
from local.stack import DATABASE
from schemas.database import LONG_WORK, engine_for

PROGRAM = "analysis"


def connect(where: str | None = None, *, zone: str = "UTC", key: str | None = None) -> Grid:
    """Connect to the data.

    Args:
        where: `postgresql://…`, or `http://…` of a running service; without: `DATABASE_URL`, else the
            database of `python -m local` in its usual directory.
        zone: an IANA zone, such as `Europe/Berlin`: of times without a zone, and in which times are shown.
        key: an API key, for HTTP.
    """
    where = where or os.environ.get("DATABASE_URL") or EmbeddedPostgres(default_data_dir()).url(DATABASE)
    if where.startswith(("http://", "https://")):
        return HttpGrid(where, key, zone)
    return DatabaseGrid(engine_for(where, PROGRAM, **LONG_WORK), lambda: datetime.now(UTC), zone)
