"""The WSGI application: which noun answers on which path."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import falcon
from falcon import Request, Response
from sqlalchemy import Engine, create_engine

from serving.access import METRICS_PATH, SESSION_PATH, allow_origins, gate
from serving.audit import Audit, AuditLog
from serving.budget import MAX_POINTS
from serving.caching import Representations
from serving.databases import Databases, timeout
from serving.errors import add_error_handling
from serving.event_rules import EventRules
from serving.events import EventReader, EventWriter
from serving.headers import SecurityHeaders
from serving.histories import Histories
from serving.keys import Keyring, KeyStore
from serving.latest import Latest
from serving.lines import Lines
from serving.metrics import Metrics
from serving.openapi import Document, describe
from serving.performance import PerformanceReader
from serving.policy import AT_HOME, Policy
from serving.present import Present
from serving.proxies import Proxies
from serving.reader import Reader
from serving.ready import App, Ready
from serving.resources.assets import Assets
from serving.resources.audit import AuditTrail
from serving.resources.commands import OneCommand, ShedCommands, VenCommands
from serving.resources.dashboard import Dashboard, dashboard_files
from serving.resources.documentation import DocsPage, OpenApi, docs_files
from serving.resources.events import (
    CurrentEvent,
    EventMetrics,
    EventPerformance,
    Events,
    EventStop,
    OneEvent,
    PastEvents,
)
from serving.resources.health import DatabaseCheck, Liveness, PrometheusMetrics
from serving.resources.live import Changes
from serving.resources.session import CurrentSession
from serving.resources.stats import LoadTypes, Network, NetworkHistory
from serving.resources.vens import LoadHistory, Loads, OneLoad, OneVen, VenHistory, Vens, VenSummaries
from serving.watching import SqlClock, Watch
from serving.writer import Writer

Clock = Callable[[], datetime]
DEFAULT_RULES = EventRules()


def create_app(  # noqa: PLR0913 - here everything comes together
    engine: Engine,
    clock: Clock,
    allowed_origins: list[str],
    event_rules: EventRules = DEFAULT_RULES,
    present: Present | None = None,
    max_points: int = MAX_POINTS,
    *,
    policy: Policy = AT_HOME,
    keyring: Keyring | None = None,
    watch: Watch | None = None,
    databases: Databases | None = None,
) -> falcon.App[Request, Response]:
    """The whole API over one database, which asks for keys if the policy says so.

    `present` and `keyring` are what a listener keeps up to date.
    """
    present = present or Present(engine, Reader(engine, clock))
    watch = watch or Watch(Metrics(), SqlClock())
    app = App(middleware=[watch])
    app.add_middleware(Representations(present.hot))
    app.add_middleware(SecurityHeaders(policy, varies_by_origin=bool(allowed_origins)))
    allow_origins(app, allowed_origins)
    door = gate(keyring or Keyring(KeyStore(engine), clock), clock, allowed_origins, policy)
    app.add_middleware(door)
    app.ready = Ready(present.hot, door, watch)
    app.proxies = Proxies(policy.trusted_proxies)
    app.add_middleware(Audit(AuditLog(engine, clock), policy))
    app.req_options.strip_url_path_trailing_slash = True
    app.req_options.keep_blank_qs_values = True
    add_error_handling(app)
    databases = databases or Databases(engine)
    resources = _resources(databases, clock, present, watch, event_rules, max_points, policy)
    for path, resource in resources.items():
        app.add_route(path, resource)
    return app


def api_document() -> Document:
    """The OpenAPI document; nothing is connected for it."""
    engine = create_engine("postgresql+psycopg://")
    present = Present(engine, Reader(engine, _never))
    return describe(_resources(Databases(engine), _never, present, Watch(Metrics(), SqlClock())))


def _never() -> datetime:
    return datetime.min.replace(tzinfo=UTC)


def _resources(  # noqa: PLR0913, PLR0917 - the same
    databases: Databases,
    clock: Clock,
    present: Present,
    watch: Watch,
    event_rules: EventRules = DEFAULT_RULES,
    max_points: int = MAX_POINTS,
    policy: Policy = AT_HOME,
) -> Mapping[str, object]:
    """Which noun answers on which path. What it takes and answers, each responder tells itself."""
    assets, document = Assets(docs_files() | dashboard_files()), OpenApi()
    engine, replica = databases.primary, databases.to_read
    within = timeout(databases.query_timeout_s)
    lines = {
        each: Lines.beside(each, watch.sql_clock.add, statement_timeout=within) for each in {engine, replica}
    }
    reader, writer = Reader(replica, clock), Writer(engine, clock)
    histories = Histories(replica, lines[replica], clock, max_points)
    # Who has written something must see it: what is written here is read where it was written.
    written, latest = Reader(engine, clock), Latest(lines[engine], clock)
    events, event_writer = EventReader(engine), EventWriter(engine, clock, event_rules)
    resources = {
        "/api/stats/network": Network(reader, present.hot),
        "/api/stats/network/history": NetworkHistory(histories),
        "/api/stats/loads": LoadTypes(reader, present.hot),
        "/api/vens": Vens(written, latest, writer),
        "/api/vens/summary": VenSummaries(reader, present.hot),
        "/api/vens/{ven_id}": OneVen(latest, writer),
        "/api/vens/{ven_id}/history": VenHistory(histories),
        "/api/vens/{ven_id}/loads": Loads(latest),
        "/api/vens/{ven_id}/loads/{load_id}": OneLoad(latest, writer),
        "/api/vens/{ven_id}/loads/{load_id}/history": LoadHistory(histories),
        "/api/vens/{ven_id}/loads/{load_id}/commands/shed": ShedCommands(writer),
        "/api/vens/{ven_id}/commands": VenCommands(written),
        "/api/commands/{command_id}": OneCommand(written),
        "/api/events": Events(events, event_writer),
        "/api/events/current": CurrentEvent(events),
        "/api/events/history": PastEvents(EventReader(replica)),
        "/api/events/{event_id}": OneEvent(events, event_writer),
        "/api/events/{event_id}/metrics": EventMetrics(events),
        "/api/events/{event_id}/performance": EventPerformance(
            PerformanceReader(replica, event_rules.baseline)
        ),
        "/api/events/{event_id}/stop": EventStop(event_writer),
        "/api/stream": Changes(present.live),
        SESSION_PATH: CurrentSession(KeyStore(engine), clock, is_https=policy.is_https),
        "/api/audit": AuditTrail(AuditLog(engine, clock)),
        "/health": Liveness(),
        "/health/db-check": DatabaseCheck(databases, clock),
        METRICS_PATH: PrometheusMetrics(watch.metrics),
        "/openapi.json": document,
        "/docs": DocsPage(assets),
        "/": Dashboard(assets),
        "/assets/{digest}/{asset}": assets,
    }
    document.hold(describe(resources))
    return resources
