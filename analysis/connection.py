"""The composition root of a notebook: the only place here that reads the environment and the clock."""

import os
from datetime import UTC, datetime

from analysis.arguments import without_password
from analysis.database_grid import DatabaseGrid
from analysis.grid import Grid
from analysis.http_grid import HttpGrid
from local.options import default_data_dir
from local.postgres import EmbeddedPostgres
from local.stack import DATABASE
from schemas.baseline_model.settings import CalendarSettings
from schemas.db.connections import LONG_WORK, engine_for

PROGRAM = "analysis"
DATABASE_SCHEMES = {"postgresql", "postgres", "postgresql+psycopg"}


def connect(where: str | None = None, *, zone: str = "UTC", key: str | None = None) -> Grid:
    """Connect to the data.

    Args:
        where: `postgresql://…`, or `http://…` of a running service; without: `DATABASE_URL`, else the
            database of `python -m local` in its usual directory. `TIME_ZONE` is that of the jobs: today's
            energy is of its day. `ARCHIVE_URL`: where `raw` reads days that retention has dropped.
        zone: an IANA zone, such as `Europe/Berlin`: for times without a zone, and for times in answers.
        key: an API key, for HTTP.

    Raises:
        ValueError: the URL, zone or key is invalid.
    """
    where = where or os.environ.get("DATABASE_URL") or EmbeddedPostgres(default_data_dir()).url(DATABASE)
    if where.startswith(("http://", "https://")):
        return HttpGrid(where, key, zone)
    scheme, _, rest = where.partition("://")
    if scheme not in DATABASE_SCHEMES:
        raise ValueError(
            f"{without_password(where)!r}: expected postgresql://user:password@host/db, or http:// or https://"
        )
    if key is not None:
        raise ValueError("key is for a service over HTTP: a database has users and passwords in its URL")
    site_zone = CalendarSettings.from_environment().time_zone
    engine = engine_for(f"postgresql://{rest}", PROGRAM, **LONG_WORK)
    archive_url = os.environ.get("ARCHIVE_URL")
    return DatabaseGrid(engine, lambda: datetime.now(UTC), zone, site_zone=site_zone, archive_url=archive_url)
