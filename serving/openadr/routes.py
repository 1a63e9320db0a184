"""Which resource of OpenADR answers on which path, and what each of them depends on."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Engine

from schemas.openadr import MqttBinding
from schemas.openadr_notifications.topics import NOUNS
from schemas.webhooks import Network
from serving.cache.change_feed import ChangeFeed
from serving.db.pool import ConnectionPool
from serving.events.service import EventWriter
from serving.http.openapi import OpenApiResource
from serving.openadr.auth.clients import ClientStore
from serving.openadr.auth.tokens import Tokens
from serving.openadr.events.power_events import PowerEvents
from serving.openadr.http.authorization import AuthServerResource, TokenResource
from serving.openadr.http.document import describe
from serving.openadr.http.events import OpenAdrEventsResource, OpenAdrOneEventResource
from serving.openadr.http.notifiers import NotifiersResource
from serving.openadr.http.programs import OneProgramResource, ProgramsResource
from serving.openadr.http.reports import OneReportResource, ReportsResource
from serving.openadr.http.resources import OneResourceResource, ResourcesResource
from serving.openadr.http.subscriptions import OneSubscriptionResource, SubscriptionsResource
from serving.openadr.http.topics import topics_of_all, topics_of_program, topics_of_ven
from serving.openadr.http.vens import OpenAdrOneVenResource, OpenAdrVensResource
from serving.openadr.notifications.listeners import change_listener
from serving.openadr.nouns.events import Events
from serving.openadr.nouns.programs import Programs
from serving.openadr.nouns.reports import Reports
from serving.openadr.nouns.resources import Resources
from serving.openadr.nouns.subscriptions import Subscriptions
from serving.openadr.nouns.vens import Vens
from serving.openadr.polling.lists import EventLists
from serving.policy import OPENADR_PREFIX, OPENADR_VERSIONS


class OpenAdrDependencies(Struct):
    """What the resources are made of. A client must see its own changes, so all is read from the primary."""

    primary: Engine
    clock: Callable[[], datetime]
    tokens: Tokens
    events: EventWriter
    is_https: bool = False
    webhook_networks: Sequence[Network] = ()
    mqtt: MqttBinding | None = None
    pool: ConnectionPool | None = None
    changes: ChangeFeed | None = None
    """With a pool and a feed, lists that many clients poll are made of copies in memory."""


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
    engine, clock = needs.primary, needs.clock
    listener = change_listener(clock, has_mqtt=needs.mqtt is not None)
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
        "/events": OpenAdrEventsResource(events, _event_lists(needs)),
        "/events/{object_id}": OpenAdrOneEventResource(events),
        "/reports": ReportsResource(reports),
        "/reports/{object_id}": OneReportResource(reports),
        "/subscriptions": SubscriptionsResource(subscriptions),
        "/subscriptions/{object_id}": OneSubscriptionResource(subscriptions),
        "/vens": OpenAdrVensResource(vens),
        "/vens/{object_id}": OpenAdrOneVenResource(vens),
        "/resources": ResourcesResource(resources),
        "/resources/{object_id}": OneResourceResource(resources),
        "/notifiers": NotifiersResource(needs.mqtt),
        **_topics(programs, vens, is_on=needs.mqtt is not None),
    }


def _event_lists(needs: OpenAdrDependencies) -> EventLists | None:
    if needs.pool is None or needs.changes is None:
        return None
    return EventLists(needs.pool, needs.changes)


def _topics(programs: Programs, vens: Vens, *, is_on: bool) -> Mapping[str, object]:
    """The operations have the names of the specification."""
    base, name = "/notifiers/mqtt/topics", "listAllMqttNotifierTopics"
    program, ven = f"{base}/programs/{{object_id}}", f"{base}/vens/{{object_id}}"
    return {
        **{
            f"{base}/{noun}": topics_of_all(noun, f"{name}{noun.title()}", is_on=is_on)
            for noun in NOUNS.values()
        },
        program: topics_of_program(programs, None, f"{name}Program", is_on=is_on),
        f"{program}/events": topics_of_program(programs, "events", f"{name}ProgramEvents", is_on=is_on),
        ven: topics_of_ven(vens, None, f"{name}Ven", is_on=is_on),
        **{
            f"{ven}/{noun}": topics_of_ven(vens, noun, f"{name}Ven{noun.title()}", is_on=is_on)
            for noun in ("events", "programs", "resources")
        },
    }
