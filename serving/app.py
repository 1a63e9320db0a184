"""The WSGI application: which noun answers on which path."""

from collections.abc import Callable
from datetime import datetime

import falcon
from falcon import Request, Response
from sqlalchemy import Engine

from serving.caching import EntityTags
from serving.errors import add_error_handling
from serving.live import Live
from serving.reader import Reader
from serving.resources.health import DatabaseCheck, Liveness
from serving.resources.live import Changes
from serving.resources.stats import LoadTypes, Network, NetworkHistory
from serving.resources.vens import LoadHistory, Loads, OneLoad, OneVen, VenHistory, Vens, VenSummaries


def create_app(
    engine: Engine,
    clock: Callable[[], datetime],
    allowed_origins: list[str],
    live: Live | None = None,
) -> falcon.App[Request, Response]:
    """The whole API over one database; `live` is what a listener keeps up to date."""
    reader = Reader(engine, clock)
    app = falcon.App(middleware=[EntityTags()])
    if allowed_origins:
        origins = "*" if "*" in allowed_origins else allowed_origins
        app.add_middleware(falcon.CORSMiddleware(allow_origins=origins, expose_headers=["ETag", "Link"]))
    app.req_options.strip_url_path_trailing_slash = True
    app.req_options.keep_blank_qs_values = True
    add_error_handling(app)
    _add_routes(app, reader)
    app.add_route("/api/stream", Changes(live or Live(engine, reader.network)))
    return app


def _add_routes(app: falcon.App[Request, Response], reader: Reader) -> None:
    app.add_route("/health", Liveness())
    app.add_route("/health/db-check", DatabaseCheck(reader))
    app.add_route("/api/stats/network", Network(reader))
    app.add_route("/api/stats/network/history", NetworkHistory(reader))
    app.add_route("/api/stats/loads", LoadTypes(reader))
    app.add_route("/api/vens", Vens(reader))
    app.add_route("/api/vens/summary", VenSummaries(reader))
    app.add_route("/api/vens/{ven_id}", OneVen(reader))
    app.add_route("/api/vens/{ven_id}/history", VenHistory(reader))
    app.add_route("/api/vens/{ven_id}/loads", Loads(reader))
    app.add_route("/api/vens/{ven_id}/loads/{load_id}", OneLoad(reader))
    app.add_route("/api/vens/{ven_id}/loads/{load_id}/history", LoadHistory(reader))
