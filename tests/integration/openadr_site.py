"""A VTN over real HTTP whose clock a test moves, with ingest and jobs that run when the test lets them."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import httpcore
from sqlalchemy import Engine

from ingest.openadr.inbox import ReportInbox
from ingest.storing.quotas import Quotas
from jobs.running.runner import Runner
from jobs.settings import Cadence
from local.fleet.homes.behaviour import ResponseBehaviour
from local.fleet.homes.household import Household
from local.fleet.telemetry.reports import FleetSettings, Reporter
from local.openadr.client import VtnClient
from local.openadr.ven import SimulatedVen, VenSettings
from schemas.db.connections import connect
from serving.openadr.auth.clients import NewClient
from tests.integration.catching_up import answering, catch_up
from tests.integration.openadr_clients import BASE, NOW, Vtn

AHEAD = timedelta(minutes=5)

Environ = dict[str, Any]
Responder = Callable[..., Iterable[bytes]]


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@dataclass
class Gate:
    """The way to the application; requests below `/away` are refused while `status` is set."""

    application: Responder
    status: str = ""
    retry_after: str = "7"
    answers: list[tuple[str, int]] = field(default_factory=list)
    """Method, path and status of each request."""

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        environ["PATH_INFO"] = path.removeprefix("/away")
        environ["RAW_URI"] = f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}"  # as granian does

        def note(status: str, *rest: Any) -> Any:
            self.answers.append((f"{environ['REQUEST_METHOD']} {path}", int(status[:3])))
            return start_response(status, *rest)

        if path.startswith("/away") and self.status:
            note(self.status, [("Retry-After", self.retry_after), ("Content-Length", "0")])
            return [b""]
        return self.application(environ, note)


class OpenAdrSite:
    """A VTN, its database's ingest and jobs, and homes that join it."""

    def __init__(self, engine: Engine, database_url: str, vtn: Vtn, pool: httpcore.ConnectionPool) -> None:
        self.vtn = vtn
        self.utility = vtn.client("utility", "bl")
        self.gate = Gate(vtn.web.app)
        self.url = ""
        self._engine = engine
        self._database_url = database_url
        self._pool = pool
        uris = "" if vtn.mqtt is None else ",".join(vtn.mqtt.uris)
        self._jobs = answering(Cadence().model_copy(update={"openadr_mqtt_uris": uris}))

    @property
    def now(self) -> float:
        return self.vtn.clock.now.timestamp()

    def client(self, client_id: str, role: str = "ven", prefix: str = "") -> VtnClient:
        secret = self.vtn.store.create(NewClient(client_id, role), self.vtn.clock())
        return VtnClient(self._pool, f"{self.url}{prefix}{BASE}", client_id, secret)

    def home(
        self,
        number: int,
        *,
        settings: FleetSettings,
        backfill_hours: float = 0.0,
        prefix: str = "",
        furnishing: str | None = None,
    ) -> SimulatedVen:
        """A home that has not joined yet."""
        household = Household(4, number, settings.is_steady, furnishing=furnishing, prefix="openadr")
        reporter = Reporter(household, settings)
        ven = VenSettings(settings.interval_s, backfill_hours, settings.behaviour)
        return SimulatedVen(reporter, reporter, self.client(household.ven_id, prefix=prefix), ven)

    def enrol(self, ven: SimulatedVen, *targets: str) -> str:
        """By the utility; answers the id of the object."""
        name = ven.home.ven_id
        enrolment = {"objectType": "BL_VEN_REQUEST", "venName": name, "clientID": name}
        return str(self.utility.make("/vens", **enrolment, targets=list(targets))["id"])

    def move_to(self, at: datetime) -> None:
        self.vtn.clock.now = at
        self.utility.fetch_token()

    def ingest(self) -> None:
        """Store all reports that came."""
        with connect(self._database_url, "tests") as connection:
            inbox = ReportInbox(connection, "tests/reports", AHEAD, Quotas())
            while inbox.drain(1_000) is not None:
                pass

    def run_jobs(self) -> None:
        """Bring summaries, events and settlements up to now."""
        at = self.vtn.clock.now
        catch_up(self._engine, at, self._jobs)
        Runner(self._engine, lambda: at).run(next(job for job in self._jobs if job.name == "events"))

    def ask(self, path: str) -> Any:
        """What our own API answers."""
        result = self.vtn.web.simulate_get(f"/api{path}")
        assert result.status_code == 200, result.text
        return result.json


@contextmanager
def running_site(
    engine: Engine, database_url: str, vtn: Vtn | None = None, now: datetime = NOW
) -> Iterator[OpenAdrSite]:
    """A site that answers at its `url`."""
    vtn = vtn or Vtn(engine)
    vtn.clock.now = now
    with httpcore.ConnectionPool() as pool:
        site = OpenAdrSite(engine, database_url, vtn, pool)
        with make_server("127.0.0.1", 0, site.gate, _Server, _Handler) as server:
            site.url = f"http://127.0.0.1:{server.server_port}"
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield site
            finally:
                server.shutdown()
                thread.join()


OBEDIENT = ResponseBehaviour(opt_out=0, mute=0)
