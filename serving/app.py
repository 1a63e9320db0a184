"""The WSGI application: which noun answers on which path."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import falcon
from falcon import Request, Response
from sqlalchemy import Engine, create_engine

from serving.caching import EntityTags
from serving.errors import add_error_handling
from serving.event_rules import EventRules
from serving.events import EventReader, EventWriter
from serving.live import Live
from serving.openapi import Document, describe
from serving.reader import Reader
from serving.resources.assets import Assets
from serving.resources.commands import OneCommand, ShedCommands, VenCommands
from serving.resources.dashboard import Dashboard, dashboard_files
from serving.resources.documentation import DocsPage, OpenApi, docs_files
from serving.resources.events import CurrentEvent, EventMetrics, Events, EventStop, OneEvent, PastEvents
from serving.resources.health import DatabaseCheck, Liveness
from serving.resources.live import Changes
from serving.resources.stats import LoadTypes, Network, NetworkHistory
from serving.resources.vens import LoadHistory, Loads, OneLoad, OneVen, VenHistory, Vens, VenSummaries
from serving.writer import Writer

Clock = Callable[[], datetime]
DEFAULT_RULES = EventRules()


def create_app(
    engine: Engine,
    clock: Clock,
    allowed_origins: list[str],
    event_rules: EventRules = DEFAULT_RULES,
    live: Live | None = None,
) -> falcon.App[Request, Response]:
    """The whole API over one database; `live` is what a listener keeps up to date."""
    app = falcon.App(middleware=[EntityTags()])
    if allowed_origins:
        origins = "*" if "*" in allowed_origins else allowed_origins
        app.add_middleware(falcon.CORSMiddleware(allow_origins=origins, expose_headers=["ETag", "Link"]))
    app.req_options.strip_url_path_trailing_slash = True
    app.req_options.keep_blank_qs_values = True
    add_error_handling(app)
    for path, resource in _resources(engine, clock, event_rules, live).items():
        app.add_route(path, resource)
    return app


def api_document() -> Document:
    """The OpenAPI document; nothing is connected for it."""
    engine = create_engine("postgresql+psycopg://")
    return describe(_resources(engine, lambda: datetime.now(UTC), DEFAULT_RULES))


def _resources(
    engine: Engine, clock: Clock, event_rules: EventRules, live: Live | None = None
) -> Mapping[str, object]:
    """Which noun answers on which path. What it takes and answers, each responder tells itself."""
    assets, document = Assets(docs_files() | dashboard_files()), OpenApi()
    reader, writer = Reader(engine, clock), Writer(engine, clock)
    events, event_writer = EventReader(engine), EventWriter(engine, clock, event_rules)
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
        "/api/events": Events(events, event_writer),
        "/api/events/current": CurrentEvent(events),
        "/api/events/history": PastEvents(events),
        "/api/events/{event_id}": OneEvent(events, event_writer),
        "/api/events/{event_id}/metrics": EventMetrics(events),
        "/api/events/{event_id}/stop": EventStop(event_writer),
        "/api/stream": Changes(live or Live(engine, reader.network)),
        "/health": Liveness(),
        "/health/db-check": DatabaseCheck(reader),
        "/openapi.json": document,
        "/docs": DocsPage(assets),
        "/": Dashboard(assets),
        "/assets/{digest}/{asset}": assets,
    }
    document.hold(describe(resources))
    return resources
