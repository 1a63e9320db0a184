"""Clients of OpenADR for tests: made in the database, with a token, over the application."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from falcon import testing
from sqlalchemy import Engine

from schemas.openadr import MqttBinding
from schemas.webhooks import Network
from serving.app import create_app
from serving.openadr.auth.clients import ClientStore, NewClient
from serving.policy import LOCAL_POLICY, Policy
from serving.routes import AppOptions

NOW = datetime.fromisoformat("2026-01-15T12:00:00+00:00")
BASE = "/openadr3/3.1.1"
INTERVAL = {"id": 0, "payloads": [{"type": "PRICE", "values": [0.17]}]}


class Clock:
    """Stands still until a test moves it."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **step: float) -> None:
        self.now += timedelta(**step)


class OpenAdrClient:
    """One client and its token."""

    def __init__(self, web: testing.TestClient, client_id: str, secret: str, base: str = BASE) -> None:
        self.web = web
        self.client_id = client_id
        self.secret = secret
        self.base = base
        self.token = ""

    def fetch_token(self, **fields: str) -> testing.Result:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.client_id,
            "client_secret": self.secret,
            **fields,
        }
        result = post_form(self.web, f"{self.base}/auth/token", form)
        if result.status_code == 200:
            self.token = result.json["access_token"]
        return result

    def ask(self, method: str, path: str, body: Any = None, **options: Any) -> testing.Result:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= options.pop("headers", {})
        given = {} if body is None else {"json": body}
        return self.web.simulate_request(method, f"{self.base}{path}", headers=headers, **given, **options)

    def get(self, path: str, **options: Any) -> Any:
        result = self.ask("GET", path, **options)
        assert result.status_code == 200, result.text
        return result.json

    def make(self, path: str, **body: Any) -> Any:
        result = self.ask("POST", path, body)
        assert result.status_code == 201, result.text
        return result.json

    def put(self, path: str, **body: Any) -> Any:
        result = self.ask("PUT", path, body)
        assert result.status_code == 200, result.text
        return result.json

    def delete(self, path: str) -> Any:
        result = self.ask("DELETE", path)
        assert result.status_code == 200, result.text
        return result.json


def post_form(
    web: testing.TestClient, path: str, form: dict[str, str], headers: dict[str, str] | None = None
) -> testing.Result:
    return web.simulate_post(
        path,
        body=urlencode(form),
        headers={"Content-Type": "application/x-www-form-urlencoded", **(headers or {})},
    )


class Vtn:
    """The application, and clients that tests make of it."""

    def __init__(
        self,
        engine: Engine,
        policy: Policy = LOCAL_POLICY,
        networks: Sequence[Network] = (),
        mqtt: MqttBinding | None = None,
    ) -> None:
        self.clock = Clock()
        self.store = ClientStore(engine)
        self.mqtt = mqtt
        options = AppOptions(policy=policy, webhook_networks=networks, openadr_mqtt=mqtt)
        self.web = testing.TestClient(create_app(engine, self.clock, [], options))

    def client(self, client_id: str, role: str, *scopes: str, base: str = BASE) -> OpenAdrClient:
        """A new client with a token."""
        secret = self.store.create(NewClient(client_id, role, scopes), self.clock())
        client = OpenAdrClient(self.web, client_id, secret, base)
        assert client.fetch_token().status_code == 200
        return client


@pytest.fixture
def vtn(engine: Engine) -> Vtn:
    return Vtn(engine)


@pytest.fixture
def utility(vtn: Vtn) -> OpenAdrClient:
    return vtn.client("utility", "bl")


@pytest.fixture
def home(vtn: Vtn) -> OpenAdrClient:
    return vtn.client("home", "ven")
