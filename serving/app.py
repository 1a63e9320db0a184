"""The WSGI application: its middleware and its resources."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import falcon
from sqlalchemy import Engine

from schemas.db.connections import engine_for
from serving.auth.audit import AuditLog, Auditor
from serving.auth.keys import Keyring, KeyStore
from serving.auth.middleware import AuthMiddleware
from serving.auth.proxies import TrustedProxies
from serving.auth.rate_limit import TokenBuckets
from serving.auth.same_origin import SameOrigin
from serving.cache.fast_path import FastPath
from serving.db.engines import Databases
from serving.db.locks import exclusive
from serving.events.service import EventWriter
from serving.fleet.reader import FleetReader
from serving.http.monitoring import AccessLog, RequestMetrics, SqlClock
from serving.http.openapi import Document, describe
from serving.http.operations import MisspeltParameters
from serving.http.problems import add_error_handling
from serving.http.representation import App, ConditionalRequests, Preconditions, SecurityHeaders
from serving.openadr.auth.callers import OpenAdrAccess
from serving.openadr.auth.clients import ClientStore, RevokedClients
from serving.openadr.auth.tokens import SigningKeys, Tokens
from serving.openadr.routes import OpenAdrDependencies, openadr_routes
from serving.policy import Policy
from serving.routes import DEFAULT_OPTIONS, AppOptions, Clock, Dependencies, pool_for, resources_by_path
from serving.worker_state import WorkerState

EXPOSED_HEADERS = [
    "ETag",
    "History-Warning",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "X-Request-Id",
]
"""Headers that scripts of other origins may read."""


def create_app(  # noqa: PLR0913 - the composition root
    engine: Engine,
    clock: Clock,
    allowed_origins: list[str],
    options: AppOptions = DEFAULT_OPTIONS,
    *,
    state: WorkerState | None = None,
    keyring: Keyring | None = None,
    access_log: AccessLog | None = None,
    databases: Databases | None = None,
    openadr_tokens: Tokens | None = None,
    buckets: TokenBuckets | None = None,
) -> App:
    """Return the application of the whole API, with keys if the policy requires them.

    `state` and `keyring` are passed if a listener keeps them up to date, `buckets` if processes share them.
    """
    state = state or WorkerState(
        engine, FleetReader(engine, clock, options.loads_gone_after, options.time_zone)
    )
    access_log = access_log or AccessLog(RequestMetrics(), SqlClock())
    databases = databases or Databases(engine)
    tokens = openadr_tokens or _tokens(engine, clock)
    buckets = buckets or buckets_of(options.policy, lambda: clock().timestamp())
    auth = AuthMiddleware(
        (keyring or Keyring(KeyStore(engine), clock)) if options.policy.needs_keys else None,
        buckets,
        _same_origin(allowed_origins, options.policy),
        Auditor(AuditLog(engine, clock), options.policy),
        OpenAdrAccess(tokens, buckets).authorize,
    )
    app = App(middleware=[access_log])
    _add_middleware(app, engine, state, auth, allowed_origins, options.policy)
    app.fast_path = FastPath(state.cache, auth, access_log)
    _set_options(app, options.policy)
    add_error_handling(app)
    dependencies = Dependencies(databases, clock, state, access_log, options)
    resources = {**resources_by_path(dependencies), **openadr_routes(_openadr(dependencies, tokens))}
    for path, resource in resources.items():
        app.add_route(path, resource)
    return app


def _add_middleware(
    app: App,
    engine: Engine,
    state: WorkerState,
    auth: AuthMiddleware,
    allowed_origins: list[str],
    policy: Policy,
) -> None:
    """Add middleware in the order of requests; responses pass it in reverse."""
    app.add_middleware(ConditionalRequests(state.cache.clear))
    app.add_middleware(SecurityHeaders(policy, varies_by_origin=bool(allowed_origins)))
    _allow_origins(app, allowed_origins)
    app.add_middleware(auth)
    app.add_middleware(MisspeltParameters())
    app.add_middleware(Preconditions(partial(exclusive, engine)))


def _openadr(needs: Dependencies, tokens: Tokens) -> OpenAdrDependencies:
    primary, options = needs.databases.primary, needs.options
    return OpenAdrDependencies(
        primary,
        needs.clock,
        tokens,
        EventWriter(primary, needs.clock, options.event_rules),
        is_https=options.policy.is_https,
        webhook_networks=options.webhook_networks,
        mqtt=options.openadr_mqtt,
        pool=pool_for(primary, needs),
        changes=needs.state.openadr_changes,
    )


def _set_options(app: App, policy: Policy) -> None:
    if policy.trusted_proxies:
        app.set_client_address = TrustedProxies(policy.trusted_proxies).set_client_address
    app.req_options.strip_url_path_trailing_slash = True
    app.req_options.keep_blank_qs_values = True


def api_document() -> Document:
    """Return the OpenAPI document, without connecting to a database."""
    engine = engine_for("postgresql://", "serving")
    state = WorkerState(engine, FleetReader(engine, _never))
    access_log = AccessLog(RequestMetrics(), SqlClock())
    return describe(resources_by_path(Dependencies(Databases(engine), _never, state, access_log)))


def _never() -> datetime:
    return datetime.min.replace(tzinfo=UTC)


def _tokens(engine: Engine, clock: Clock) -> Tokens:
    return Tokens(SigningKeys(engine, clock), RevokedClients(ClientStore(engine), clock), clock)


def buckets_of(policy: Policy, clock_s: Callable[[], float], file: Path | None = None) -> TokenBuckets | None:
    """Return the buckets of a policy, of keys as of OpenADR's clients; None if it has no rate."""
    return TokenBuckets(policy.rate_per_s, policy.rate_burst, clock_s, file) if policy.rate_per_s else None


def _same_origin(allowed_origins: list[str], policy: Policy) -> SameOrigin:
    return SameOrigin(allowed_origins, is_local_only=policy.is_local_only, page_ports=policy.page_ports)


def _allow_origins(app: App, allowed_origins: list[str]) -> None:
    """Set CORS: pages of these origins may call; named origins also with the cookie."""
    if "*" in allowed_origins:
        app.add_middleware(falcon.CORSMiddleware(allow_origins="*", expose_headers=EXPOSED_HEADERS))
    elif allowed_origins:
        app.add_middleware(
            falcon.CORSMiddleware(
                allow_origins=allowed_origins,
                allow_credentials=allowed_origins,
                expose_headers=EXPOSED_HEADERS,
            )
        )
