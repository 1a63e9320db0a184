"""Which resource of OpenADR answers on which path, and what each of them depends on."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Engine

from schemas.webhooks import Network
from serving.events.service import EventWriter
from serving.http.openapi import OpenApiResource
from serving.openadr.clients import ClientStore
from serving.openadr.http.authorization import AuthServerResource, TokenResource
from serving.openadr.http.document import describe
from serving.openadr.http.events import OpenAdrEventsResource, OpenAdrOneEventResource
from serving.openadr.http.notifiers import NotifiersResource
from serving.openadr.http.programs import OneProgramResource, ProgramsResource
from serving.openadr.http.reports import OneReportResource, ReportsResource
from serving.openadr.http.resources import OneResourceResource, ResourcesResource
from serving.openadr.http.subscriptions import OneSubscriptionResource, SubscriptionsResource
from serving.openadr.http.vens import OpenAdrOneVenResource, OpenAdrVensResource
from serving.openadr.notifications import Notifications
from serving.openadr.nouns.events import Events
from serving.openadr.nouns.programs import Programs
from serving.openadr.nouns.reports import Reports
from serving.openadr.nouns.resources import Resources
from serving.openadr.nouns.subscriptions import Subscriptions
from serving.openadr.nouns.vens import Vens
from serving.openadr.power_events import PowerEvents
from serving.openadr.tokens import Tokens
from serving.policy import OPENADR_PREFIX, OPENADR_VERSIONS


class OpenAdrDependencies(Struct):
    """What the resources are made of. A client must see its own changes, so all is read from the primary."""

    primary: Engine
    clock: Callable[[], datetime]
    tokens: Tokens
    events: EventWriter
    is_https: bool = False
    webhook_networks: Sequence[Network] = ()


def openadr_routes(needs: OpenAdrDependencies) -> Mapping[str, object]:
    """Each path with its resource, for every version."""
    resources = _resources(needs)
    return {
        f"{OPENADR_PREFIX}{version}{path}": resource
        for version in OPENADR_VERSIONS
        for path, resource in _with_document(resources, version).items()
    }


def _with_document(resources: Mapping[str, object], version: str) -> Mapping[str, object]:
    document = OpenApiResource()
    every = {**resources, "/openapi.json": document}
    document.hold(describe(every, f"{OPENADR_PREFIX}{version}", version))
    return every


def _resources(needs: OpenAdrDependencies) -> Mapping[str, object]:
    engine, clock, listener = needs.primary, needs.clock, Notifications(needs.clock).notify
    reports = Reports(engine, clock, listener)
    subscriptions = Subscriptions(engine, clock, listener, needs.webhook_networks)
    resources = Resources(engine, clock, listener)
    events = Events(engine, clock, reports, PowerEvents(needs.events), listener)
    programs = Programs(engine, clock, events, subscriptions, listener)
    vens = Vens(engine, clock, resources, listener)
    return {
        "/auth/server": AuthServerResource(is_https=needs.is_https),
        "/auth/token": TokenResource(ClientStore(engine), needs.tokens, clock),
        "/programs": ProgramsResource(programs),
        "/programs/{object_id}": OneProgramResource(programs),
        "/events": OpenAdrEventsResource(events),
        "/events/{object_id}": OpenAdrOneEventResource(events),
        "/reports": ReportsResource(reports),
        "/reports/{object_id}": OneReportResource(reports),
        "/subscriptions": SubscriptionsResource(subscriptions),
        "/subscriptions/{object_id}": OneSubscriptionResource(subscriptions),
        "/vens": OpenAdrVensResource(vens),
        "/vens/{object_id}": OpenAdrOneVenResource(vens),
        "/resources": ResourcesResource(resources),
        "/resources/{object_id}": OneResourceResource(resources),
        "/notifiers": NotifiersResource(),
    }
