"""Each path with its resource, and the dependencies of resources."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from sqlalchemy import Engine

from schemas.archive.folder import ArchiveFolder
from schemas.devices.load_values import GONE_AFTER
from schemas.openadr import MqttBinding
from schemas.webhooks import Network
from serving.alarms.service import Alarms
from serving.auth.audit import AuditLog
from serving.auth.keys import KeyStore
from serving.commands.service import CommandReader, CommandWriter
from serving.db.engines import Databases, timeout
from serving.db.pool import ConnectionPool
from serving.db.worker_share import SHORT_QUERIES
from serving.events.deliveries.baseline_series import BaselineSeriesReader
from serving.events.deliveries.baselines import baseline_methods
from serving.events.deliveries.performance import PerformanceReader
from serving.events.rules import EventRules
from serving.events.service import EventReader, EventWriter
from serving.fleet.forecasts import ForecastReader
from serving.fleet.latest import LatestReader
from serving.fleet.reader import FleetReader
from serving.history.bulk import BulkHistories
from serving.history.limits import MAX_POINTS
from serving.history.planner import Aggregate
from serving.history.service import Histories
from serving.http.monitoring import AccessLog
from serving.http.openapi import OpenApiResource, describe
from serving.imports.service import VenImports
from serving.openadr.events.own_events import OwnEvents
from serving.openadr.notifications.listeners import change_listener
from serving.policy import LOCAL_POLICY, METRICS_PATH, SESSION_PATH, Policy
from serving.registry.credentials import VenCredentials
from serving.registry.groups import GroupReader, GroupWriter
from serving.registry.opt_outs import OptOuts
from serving.registry.writer import FleetWriter
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
from serving.resources.pages import DashboardResource, DocsPageResource, page_assets
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


class AppOptions(Struct, frozen=True):
    """Options that the settings of a site determine."""

    event_rules: EventRules = DEFAULT_RULES
    max_points: int = MAX_POINTS
    default_aggregate: Aggregate = "sum"
    policy: Policy = LOCAL_POLICY
    loads_gone_after: timedelta | None = GONE_AFTER
    time_zone: str = "UTC"
    webhook_networks: Sequence[Network] = ()
    archive: ArchiveFolder | None = None
    credentials_key: bytes | None = None
    """Key that seals passwords of VENs in the outbox; without it VENs get no passwords."""
    openadr_mqtt: MqttBinding | None = None
    short_queries: int = SHORT_QUERIES
    """Most concurrent short queries of a process."""


DEFAULT_OPTIONS = AppOptions()


class Dependencies(Struct):
    """The dependencies of resources."""

    databases: Databases
    clock: Clock
    state: WorkerState
    access_log: AccessLog
    options: AppOptions = DEFAULT_OPTIONS


def resources_by_path(needs: Dependencies) -> Mapping[str, object]:
    """Return each path with its resource."""
    document = OpenApiResource()
    resources = {
        **_fleet_resources(needs),
        **_registry_resources(needs),
        **_event_resources(needs),
        **_service_resources(needs, document),
    }
    document.hold(describe(resources))
    return resources


class FleetServices(Struct):
    """Services of VENs and loads; what clients can change is read from the primary (read your writes)."""

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
    """Return the resources of VENs, latest values, statistics, histories and forecasts."""
    primary, cache, fleet = needs.databases.primary, needs.state.cache, _fleet_services(needs)
    latest, reports = fleet.latest, ReportReader(needs.databases.to_read, needs.options.archive)
    writer = FleetWriter(primary, needs.clock, latest)
    return {
        "/api/stats/network": NetworkResource(fleet.reader, cache),
        "/api/stats/network/history": NetworkHistoryResource(fleet.histories),
        "/api/stats/loads": LoadTypesResource(fleet.reader, cache),
        "/api/vens": VensResource(fleet.primary_reader, latest, writer),
        "/api/vens/summary": VenSummariesResource(fleet.reader, cache),
        "/api/vens/history": VenHistoriesResource(fleet.bulk),
        "/api/vens/{ven_id}": OneVenResource(latest, writer),
        "/api/vens/{ven_id}/history": VenHistoryResource(fleet.histories),
        "/api/vens/{ven_id}/loads": LoadsResource(latest),
        "/api/vens/{ven_id}/loads/{load_id}": OneLoadResource(latest, writer),
        "/api/vens/{ven_id}/loads/{load_id}/history": LoadHistoryResource(fleet.histories),
        "/api/vens/{ven_id}/loads/{load_id}/commands/shed": ShedCommandsResource(
            CommandWriter(primary, needs.clock, latest)
        ),
        "/api/vens/{ven_id}/circuits/history": CircuitHistoryResource(reports),
        "/api/vens/{ven_id}/events": VenEventsResource(reports),
        "/api/vens/{ven_id}/rejected": RejectedMessagesResource(reports),
        "/api/loads/history": LoadHistoriesResource(fleet.bulk),
        "/api/forecast": ForecastResource(fleet.forecasts),
        "/api/groups/{group_id}/vens": GroupVensResource(fleet.primary_reader),
    }


def _registry_resources(needs: Dependencies) -> Mapping[str, object]:
    """Return the resources of groups, opt-outs, credentials, imports and commands."""
    primary, clock = needs.databases.primary, needs.clock
    groups, group_writer = GroupReader(primary), GroupWriter(primary, clock)
    commands, opt_outs, imports = CommandReader(primary), OptOuts(primary, clock), VenImports(primary, clock)
    credentials = VenCredentials(primary, clock, needs.options.credentials_key)
    return {
        "/api/vens/import": VenImportResource(imports),
        "/api/vens/export": VenExportResource(imports),
        "/api/vens/{ven_id}/commands": VenCommandsResource(commands),
        "/api/vens/{ven_id}/credential": OneCredentialResource(credentials),
        "/api/vens/{ven_id}/credential/rotate": CredentialRotationResource(credentials),
        "/api/vens/{ven_id}/opt-outs": OptOutsResource(opt_outs),
        "/api/vens/{ven_id}/opt-outs/{opt_out_id}": OneOptOutResource(opt_outs),
        "/api/commands/{command_id}": OneCommandResource(commands),
        "/api/credentials": CredentialsResource(credentials),
        "/api/groups": GroupsResource(groups, group_writer),
        "/api/groups/{group_id}": OneGroupResource(groups, group_writer),
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
    """Return a pool for short queries of each database."""
    return {engine: pool_for(engine, needs) for engine in {needs.databases.primary, needs.databases.to_read}}


def pool_for(engine: Engine, needs: Dependencies) -> ConnectionPool:
    """Return a pool for short queries of one database."""
    return ConnectionPool.for_engine(
        engine,
        needs.access_log.sql_clock.add,
        needs.options.short_queries,
        statement_timeout=timeout(needs.databases.query_timeout_s),
    )
