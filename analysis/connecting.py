"""The composition root of a notebook: the only place here that reads the environment and the clock."""

import os
from datetime import UTC, datetime

from analysis.database import Database
from analysis.door import Door
from analysis.over_http import OverHttp
from local.options import default_data_dir
from local.postgres import EmbeddedPostgres
from local.stack import DATABASE
from schemas.database import LONG_WORK, engine_for

PROGRAM = "analysis"


def connect(where: str | None = None, *, zone: str = "UTC", key: str | None = None) -> Door:
    """A door to the data.

    Args:
        where: `postgresql://…`, or `http://…` of a running service; without: `DATABASE_URL`, else the
            database of `python -m local` in its usual directory.
        zone: an IANA zone, such as `Europe/Berlin`: how times without a zone are meant, and times are shown.
        key: an API key, for HTTP.
    """
    where = where or os.environ.get("DATABASE_URL") or EmbeddedPostgres(default_data_dir()).url(DATABASE)
    if where.startswith(("http://", "https://")):
        return OverHttp(where, key, zone)
    return Database(engine_for(where, PROGRAM, **LONG_WORK), lambda: datetime.now(UTC), zone)
