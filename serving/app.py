"""The WSGI application: which noun answers on which path."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import falcon
from falcon import Request, Response
from sqlalchemy import Engine, create_engine

from serving.access import SESSION_PATH, allow_origins, gate
from serving.audit import Audit, AuditLog
from serving.caching import EntityTags
from serving.errors import add_error_handling
from serving.headers import SecurityHeaders
from serving.keys import KeyStore
from serving.openapi import Document, describe
from serving.policy import AT_HOME, Policy
from serving.reader import Reader
from serving.resources.audit import AuditTrail
from serving.resources.documentation import Assets, DocsPage, OpenApi
from serving.resources.health import DatabaseCheck, Liveness
from serving.resources.session import CurrentSession
from serving.resources.stats import LoadTypes, Network, NetworkHistory
from serving.resources.vens import LoadHistory, Loads, OneLoad, OneVen, VenHistory, Vens, VenSummaries


def create_app(
    engine: Engine, clock: Callable[[], datetime], allowed_origins: list[str], policy: Policy = AT_HOME
) -> falcon.App[Request, Response]:
    """The whole API over one database; it asks for keys if the policy says so."""
    app = falcon.App(middleware=[EntityTags()])
    app.add_middleware(SecurityHeaders(policy))
    allow_origins(app, allowed_origins)
    app.add_middleware(gate(KeyStore(engine), clock, allowed_origins, policy))
    app.add_middleware(Audit(AuditLog(engine, clock), policy))
    app.req_options.strip_url_path_trailing_slash = True
    app.req_options.keep_blank_qs_values = True
    add_error_handling(app)
    _add_routes(app, _resources(engine, clock, policy))
    return app


def api_document() -> Document:
    """The OpenAPI document; nothing is connected for it."""
    engine = create_engine("postgresql+psycopg://")
    return describe(_resources(engine, lambda: datetime.now(UTC), AT_HOME))


def _add_routes(app: falcon.App[Request, Response], resources: Mapping[str, object]) -> None:
    for path, resource in resources.items():
        app.add_route(path, resource)


def _resources(engine: Engine, clock: Callable[[], datetime], policy: Policy) -> Mapping[str, object]:
    """Which noun answers on which path. What it takes and answers, each responder tells itself."""
    reader, assets, document = Reader(engine, clock), Assets(), OpenApi()
    resources = {
        "/api/stats/network": Network(reader),
        "/api/stats/network/history": NetworkHistory(reader),
        "/api/stats/loads": LoadTypes(reader),
        "/api/vens": Vens(reader),
        "/api/vens/summary": VenSummaries(reader),
        "/api/vens/{ven_id}": OneVen(reader),
        "/api/vens/{ven_id}/history": VenHistory(reader),
        "/api/vens/{ven_id}/loads": Loads(reader),
        "/api/vens/{ven_id}/loads/{load_id}": OneLoad(reader),
        "/api/vens/{ven_id}/loads/{load_id}/history": LoadHistory(reader),
        SESSION_PATH: CurrentSession(KeyStore(engine), clock, is_https=policy.is_https),
        "/api/audit": AuditTrail(AuditLog(engine, clock)),
        "/health": Liveness(),
        "/health/db-check": DatabaseCheck(reader),
        "/openapi.json": document,
        "/docs": DocsPage(assets),
        "/docs/assets/{digest}/{asset}": assets,
    }
    document.hold(describe(resources))
    return resources
