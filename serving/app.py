"""The WSGI application: which noun answers on which path."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import falcon
from falcon import Request, Response
from sqlalchemy import Engine, create_engine

from serving.caching import EntityTags
from serving.errors import add_error_handling
from serving.openapi import Document, describe
from serving.reader import Reader
from serving.resources.commands import OneCommand, ShedCommands, VenCommands
from serving.resources.documentation import Assets, DocsPage, OpenApi
from serving.resources.health import DatabaseCheck, Liveness
from serving.resources.stats import LoadTypes, Network, NetworkHistory
from serving.resources.vens import LoadHistory, Loads, OneLoad, OneVen, VenHistory, Vens, VenSummaries
from serving.writer import Writer


def create_app(
    engine: Engine, clock: Callable[[], datetime], allowed_origins: list[str]
) -> falcon.App[Request, Response]:
    """The whole API over one database."""
    app = falcon.App(middleware=[EntityTags()])
    if allowed_origins:
        origins = "*" if "*" in allowed_origins else allowed_origins
        app.add_middleware(falcon.CORSMiddleware(allow_origins=origins, expose_headers=["ETag", "Link"]))
    app.req_options.strip_url_path_trailing_slash = True
    app.req_options.keep_blank_qs_values = True
    add_error_handling(app)
    _add_routes(app, Reader(engine, clock), Writer(engine, clock))
    return app


def api_document() -> Document:
    """The OpenAPI document; nothing is connected for it."""
    engine, clock = create_engine("postgresql+psycopg://"), lambda: datetime.now(UTC)
    return describe(_resources(Reader(engine, clock), Writer(engine, clock)))


def _add_routes(app: falcon.App[Request, Response], reader: Reader, writer: Writer) -> None:
    for path, resource in _resources(reader, writer).items():
        app.add_route(path, resource)


def _resources(reader: Reader, writer: Writer) -> Mapping[str, object]:
    """Which noun answers on which path. What it takes and answers, each responder tells itself."""
    assets, document = Assets(), OpenApi()
    resources = {
        "/api/stats/network": Network(reader),
        "/api/stats/network/history": NetworkHistory(reader),
        "/api/stats/loads": LoadTypes(reader),
        "/api/vens": Vens(reader, writer),
        "/api/vens/summary": VenSummaries(reader),
        "/api/vens/{ven_id}": OneVen(reader, writer),
        "/api/vens/{ven_id}/history": VenHistory(reader),
        "/api/vens/{ven_id}/loads": Loads(reader),
        "/api/vens/{ven_id}/loads/{load_id}": OneLoad(reader, writer),
        "/api/vens/{ven_id}/loads/{load_id}/history": LoadHistory(reader),
        "/api/vens/{ven_id}/loads/{load_id}/commands/shed": ShedCommands(writer),
        "/api/vens/{ven_id}/commands": VenCommands(reader),
        "/api/commands/{command_id}": OneCommand(reader),
        "/health": Liveness(),
        "/health/db-check": DatabaseCheck(reader),
        "/openapi.json": document,
        "/docs": DocsPage(assets),
        "/docs/assets/{digest}/{asset}": assets,
    }
    document.hold(describe(resources))
    return resources
