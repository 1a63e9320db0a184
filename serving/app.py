"""The WSGI application: which resource answers on which path, and what each of them depends on."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial

import falcon
from msgspec import Struct
from sqlalchemy import Engine

from schemas.archive.folder import ArchiveFolder
from schemas.db.connections import engine_for
from schemas.devices.load_values import GONE_AFTER
from schemas.openadr import MqttBinding
from schemas.webhooks import Network
from serving.alarms.service import Alarms
from serving.auth.audit import AuditLog, Auditor
from serving.auth.keys import Keyring, KeyStore
from serving.auth.middleware import AuthMiddleware
from serving.auth.proxies import TrustedProxies
from serving.auth.rate_limit import TokenBuckets
from serving.auth.same_origin import SameOrigin
from serving.cache.fast_path import CACHED_PATHS, FastPath
from serving.commands.service import CommandReader, CommandWriter
from serving.db.engines import Databases, timeout
from serving.db.locks import exclusive
from serving.db.pool import ConnectionPool
from serving.events.baseline_series import BaselineSeriesReader
from serving.events.baselines import baseline_methods
from serving.events.performance import PerformanceReader
from serving.events.rules import EventRules
from serving.events.service import EventReader, EventWriter
from serving.fleet.credentials import VenCredentials
from serving.fleet.forecasts import ForecastReader
from serving.fleet.groups import GroupReader, GroupWriter
from serving.fleet.imports import VenImports
from serving.fleet.latest import LatestReader
from serving.fleet.opt_outs import OptOuts
from serving.fleet.reader import FleetReader
from serving.fleet.writer import FleetWriter
from serving.history.bulk import BulkHistories
from serving.history.limits import MAX_POINTS
from serving.history.planner import Aggregate
from serving.history.service import Histories
from serving.http.monitoring import AccessLog, RequestMetrics, SqlClock
from serving.http.openapi import Document, OpenApiResource, describe
from serving.http.operations import MisspeltParameters
from serving.http.problems import add_error_handling
from serving.http.representation import App, ConditionalRequests, Preconditions, SecurityHeaders
from serving.openadr.auth.callers import OpenAdrAccess
from serving.openadr.auth.clients import ClientStore, RevokedClients
from serving.openadr.auth.tokens import SigningKeys, Tokens
from serving.openadr.events.own_events import OwnEvents
from serving.openadr.notifications.listeners import change_listener
from serving.openadr.routes import OpenAdrDependencies, openadr_routes
from serving.policy import LOCAL_POLICY, METRICS_PATH, SESSION_PATH, Policy
from serving.reports.service import ReportReader
from serving.resources.access import AuditTrailResource, CurrentSessionResource
from serving.resources.alarms import (
    AcknowledgementResource,
    AlarmConditionsResource,
    AlarmsResource,
    OneAlarmResource,
)
from serving.resources.baselines import BaselinesResource, EventBaselineResource, VenBaselineResource
from serving.resources.bulk_histories import LoadHistoriesResource, VenHistoriesResource
from serving.resources.commands import OneCommandResource, ShedCommandsResource, VenCommandsResource
from serving.resources.credentials import (
    CredentialRotationResource,
    CredentialsResource,
    OneCredentialResource,
)
from serving.resources.events import (
    CurrentEventResource,
    EventMetricsResource,
    EventPerformanceResource,
    EventsResource,
    EventStopResource,
    OneEventResource,
    PastEventsResource,
)
from serving.resources.forecast import ForecastResource
from serving.resources.groups import GroupsResource, GroupVensResource, OneGroupResource
from serving.resources.health import DatabaseCheckResource, LivenessResource, PrometheusMetricsResource
from serving.resources.opt_outs import OneOptOutResource, OptOutsResource
from serving.resources.pages import (
    DashboardResource,
    DocsPageResource,
    page_assets,
)
from serving.resources.reports import CircuitHistoryResource, RejectedMessagesResource, VenEventsResource
from serving.resources.stats import LoadTypesResource, NetworkHistoryResource, NetworkResource
from serving.resources.stream import StreamResource
from serving.resources.ven_imports import VenExportResource, VenImportResource
from serving.resources.vens import (
    LoadHistoryResource,
    LoadsResource,
    OneLoadResource,
    OneVenResource,
    VenHistoryResource,
    VensResource,
    VenSummariesResource,
)
from serving.resources.webhooks import (
    OneWebhookResource,
    WebhookDeliveriesResource,
    WebhooksResource,
    WebhookTestResource,
)
from serving.webhooks.service import Webhooks
from serving.worker_state import WorkerState

Clock = Callable[[], datetime]
DEFAULT_RULES = EventRules()
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


class AppOptions(Struct, frozen=True):
    """What a site sets."""

    event_rules: EventRules = DEFAULT_RULES
    max_points: int = MAX_POINTS
    default_aggregate: Aggregate = "sum"
    policy: Policy = LOCAL_POLICY
    loads_gone_after: timedelta | None = GONE_AFTER
    time_zone: str = "UTC"
    webhook_networks: Sequence[Network] = ()
    archive: ArchiveFolder | None = None
    credentials_key: bytes | None = None
    """Seals the passwords of VENs on their way to the broker; without it there are none."""
    openadr_mqtt: MqttBinding | None = None


DEFAULT_OPTIONS = AppOptions()


class Dependencies(Struct):
    """What resources are made of."""

    databases: Databases
    clock: Clock
    state: WorkerState
    access_log: AccessLog
    options: AppOptions = DEFAULT_OPTIONS


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
) -> App:
    """The whole API over one database, with keys if the policy needs them.

    `state` and `keyring` are given where a listener keeps them up to date.
    """
    policy = options.policy
    state = state or WorkerState(
        engine, FleetReader(engine, clock, options.loads_gone_after, options.time_zone)
    )
    access_log = access_log or AccessLog(RequestMetrics(), SqlClock())
    databases = databases or Databases(engine)
    tokens = openadr_tokens or _tokens(engine, clock)
    openadr_access = OpenAdrAccess(tokens, _buckets(policy), clock)
    auth = _auth(engine, clock, allowed_origins, policy, keyring, openadr_access)
    app = App(middleware=[access_log])
    app.add_middleware(ConditionalRequests(state.cache.clear))
    app.add_middleware(SecurityHeaders(policy, varies_by_origin=bool(allowed_origins)))
    _allow_origins(app, allowed_origins)
    app.add_middleware(auth)
    app.add_middleware(MisspeltParameters())
    app.add_middleware(Preconditions(partial(exclusive, engine)))
    app.fast_path, app.fast_paths = FastPath(state.cache, auth, access_log), CACHED_PATHS
    _set_options(app, policy)
    add_error_handling(app)
    events = EventWriter(databases.primary, clock, options.event_rules)
    openadr = OpenAdrDependencies(
        databases.primary,
        clock,
        tokens,
        events,
        is_https=policy.is_https,
        webhook_networks=options.webhook_networks,
        mqtt=options.openadr_mqtt,
        pool=_pool(databases.primary, access_log, databases),
        changes=state.openadr_changes,
    )
    resources = _resources(Dependencies(databases, clock, state, access_log, options))
    for path, resource in {**resources, **openadr_routes(openadr)}.items():
        app.add_route(path, resource)
    return app


def _set_options(app: App, policy: Policy) -> None:
    if policy.trusted_proxies:
        app.set_client_address = TrustedProxies(policy.trusted_proxies).set_client_address
    app.req_options.strip_url_path_trailing_slash = True
    app.req_options.keep_blank_qs_values = True


def api_document() -> Document:
    """The OpenAPI document; no database is connected."""
    engine = engine_for("postgresql://", "serving")
    state = WorkerState(engine, FleetReader(engine, _never))
    access_log = AccessLog(RequestMetrics(), SqlClock())
    return describe(_resources(Dependencies(Databases(engine), _never, state, access_log)))


def _never() -> datetime:
    return datetime.min.replace(tzinfo=UTC)


def _tokens(engine: Engine, clock: Clock) -> Tokens:
    return Tokens(SigningKeys(engine, clock), RevokedClients(ClientStore(engine), clock), clock)


def _buckets(policy: Policy) -> TokenBuckets | None:
    return TokenBuckets(policy.rate_per_s, policy.rate_burst) if policy.rate_per_s else None


def _auth(
    engine: Engine,
    clock: Clock,
    allowed_origins: list[str],
    policy: Policy,
    keyring: Keyring | None,
    openadr_access: OpenAdrAccess,
) -> AuthMiddleware:
    return AuthMiddleware(
        (keyring or Keyring(KeyStore(engine), clock)) if policy.needs_keys else None,
        _buckets(policy),
        SameOrigin(allowed_origins, is_local_only=policy.is_local_only, page_ports=policy.page_ports),
        Auditor(AuditLog(engine, clock), policy),
        clock,
        openadr_access.authorize,
    )


def _allow_origins(app: App, allowed_origins: list[str]) -> None:
    """CORS: pages of these origins may call, those that are named also with the cookie."""
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


def _resources(needs: Dependencies) -> Mapping[str, object]:
    """Each path with its resource."""
    document = OpenApiResource()
    resources = {
        **_fleet_resources(needs),
        **_event_resources(needs),
        **_service_resources(needs, document),
    }
    document.hold(describe(resources))
    return resources


class FleetServices(Struct):
    """Services of VENs and loads; what clients can change is read from the primary, so that they see it."""

    reader: FleetReader
    primary_reader: FleetReader
    latest: LatestReader
    histories: Histories
    bulk: BulkHistories
    forecasts: ForecastReader


def _fleet_services(needs: Dependencies) -> FleetServices:
    primary, replica = needs.databases.primary, needs.databases.to_read
    clock, pools, options = needs.clock, _pools(needs), needs.options
    gone_after, zone = options.loads_gone_after, options.time_zone
    of_histories = (options.max_points, options.default_aggregate, zone)
    return FleetServices(
        FleetReader(replica, clock, gone_after, zone),
        FleetReader(primary, clock, gone_after, zone),
        LatestReader(pools[primary], clock, gone_after),
        Histories(
            replica, pools[replica], clock, *of_histories, gone_after=gone_after, archive=options.archive
        ),
        BulkHistories(replica, *of_histories, gone_after=gone_after, archive=options.archive),
        ForecastReader(replica, clock, zone),
    )


def _fleet_resources(needs: Dependencies) -> Mapping[str, object]:
    primary, replica = needs.databases.primary, needs.databases.to_read
    clock, cache, fleet = needs.clock, needs.state.cache, _fleet_services(needs)
    reader, primary_reader, latest = fleet.reader, fleet.primary_reader, fleet.latest
    histories, bulk = fleet.histories, fleet.bulk
    writer, opt_outs = FleetWriter(primary, clock, latest), OptOuts(primary, clock)
    groups, group_writer = GroupReader(primary), GroupWriter(primary, clock)
    commands, reports = CommandReader(primary), ReportReader(replica)
    imports = VenImports(primary, clock)
    credentials = VenCredentials(primary, clock, needs.options.credentials_key)
    return {
        "/api/stats/network": NetworkResource(reader, cache),
        "/api/stats/network/history": NetworkHistoryResource(histories),
        "/api/stats/loads": LoadTypesResource(reader, cache),
        "/api/vens": VensResource(primary_reader, latest, writer),
        "/api/vens/summary": VenSummariesResource(reader, cache),
        "/api/vens/history": VenHistoriesResource(bulk),
        "/api/vens/import": VenImportResource(imports),
        "/api/vens/export": VenExportResource(imports),
        "/api/vens/{ven_id}": OneVenResource(latest, writer),
        "/api/vens/{ven_id}/history": VenHistoryResource(histories),
        "/api/vens/{ven_id}/loads": LoadsResource(latest),
        "/api/vens/{ven_id}/loads/{load_id}": OneLoadResource(latest, writer),
        "/api/vens/{ven_id}/loads/{load_id}/history": LoadHistoryResource(histories),
        "/api/vens/{ven_id}/loads/{load_id}/commands/shed": ShedCommandsResource(
            CommandWriter(primary, clock, latest)
        ),
        "/api/vens/{ven_id}/commands": VenCommandsResource(commands),
        "/api/vens/{ven_id}/circuits/history": CircuitHistoryResource(reports),
        "/api/vens/{ven_id}/events": VenEventsResource(reports),
        "/api/vens/{ven_id}/rejected": RejectedMessagesResource(reports),
        "/api/vens/{ven_id}/credential": OneCredentialResource(credentials),
        "/api/vens/{ven_id}/credential/rotate": CredentialRotationResource(credentials),
        "/api/credentials": CredentialsResource(credentials),
        "/api/vens/{ven_id}/opt-outs": OptOutsResource(opt_outs),
        "/api/vens/{ven_id}/opt-outs/{opt_out_id}": OneOptOutResource(opt_outs),
        "/api/loads/history": LoadHistoriesResource(bulk),
        "/api/forecast": ForecastResource(fleet.forecasts),
        "/api/groups": GroupsResource(groups, group_writer),
        "/api/groups/{group_id}": OneGroupResource(groups, group_writer),
        "/api/groups/{group_id}/vens": GroupVensResource(primary_reader),
        "/api/commands/{command_id}": OneCommandResource(commands),
    }


def _event_resources(needs: Dependencies) -> Mapping[str, object]:
    primary, replica = needs.databases.primary, needs.databases.to_read
    baseline = needs.options.event_rules.baseline
    reader, writer = (
        EventReader(primary, baseline),
        EventWriter(
            primary,
            needs.clock,
            needs.options.event_rules,
            OwnEvents(change_listener(needs.clock, has_mqtt=needs.options.openadr_mqtt is not None)).follow,
        ),
    )
    performance = PerformanceReader(replica, baseline)
    series = BaselineSeriesReader(replica, needs.clock, needs.options.event_rules)
    return {
        "/api/baselines": BaselinesResource(baseline_methods(needs.options.event_rules)),
        "/api/vens/{ven_id}/baseline": VenBaselineResource(series),
        "/api/events": EventsResource(reader, writer),
        "/api/events/current": CurrentEventResource(reader),
        "/api/events/history": PastEventsResource(EventReader(replica, baseline)),
        "/api/events/{event_id}": OneEventResource(reader, writer),
        "/api/events/{event_id}/baseline": EventBaselineResource(series),
        "/api/events/{event_id}/metrics": EventMetricsResource(reader),
        "/api/events/{event_id}/performance": EventPerformanceResource(performance),
        "/api/events/{event_id}/stop": EventStopResource(writer),
    }


def _service_resources(needs: Dependencies, document: OpenApiResource) -> Mapping[str, object]:
    primary, clock = needs.databases.primary, needs.clock
    assets, alarms = page_assets(), Alarms(primary, clock)
    webhooks = Webhooks(primary, clock, needs.options.webhook_networks)
    return {
        "/api/webhooks": WebhooksResource(webhooks),
        "/api/webhooks/{webhook_id}": OneWebhookResource(webhooks),
        "/api/webhooks/{webhook_id}/deliveries": WebhookDeliveriesResource(webhooks),
        "/api/webhooks/{webhook_id}/test": WebhookTestResource(webhooks),
        "/api/alarms": AlarmsResource(alarms),
        "/api/alarms/conditions": AlarmConditionsResource(alarms),
        "/api/alarms/{alarm_id}": OneAlarmResource(alarms),
        "/api/alarms/{alarm_id}/acknowledge": AcknowledgementResource(alarms),
        "/api/stream": StreamResource(needs.state.hub),
        SESSION_PATH: CurrentSessionResource(
            KeyStore(primary), clock, is_https=needs.options.policy.is_https
        ),
        "/api/audit": AuditTrailResource(AuditLog(primary, clock)),
        "/health": LivenessResource(),
        "/health/db-check": DatabaseCheckResource(needs.databases, clock),
        METRICS_PATH: PrometheusMetricsResource(needs.access_log.metrics),
        "/openapi.json": document,
        "/docs": DocsPageResource(assets),
        "/": DashboardResource(assets, needs.options.time_zone),
        "/assets/{digest}/{asset}": assets,
    }


def _pools(needs: Dependencies) -> Mapping[Engine, ConnectionPool]:
    """A pool for short queries of each database."""
    return {
        engine: _pool(engine, needs.access_log, needs.databases)
        for engine in {needs.databases.primary, needs.databases.to_read}
    }


def _pool(engine: Engine, access_log: AccessLog, databases: Databases) -> ConnectionPool:
    return ConnectionPool.for_engine(
        engine, access_log.sql_clock.add, statement_timeout=timeout(databases.query_timeout_s)
    )
