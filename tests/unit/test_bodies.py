"""Request bodies: an error names the field, and is never a 500."""

import gzip
import re
from datetime import UTC, datetime
from typing import Annotated, Literal

import falcon
import msgspec
import pytest
from falcon import testing
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from serving.http.bodies import read_body, read_bytes

START = datetime(2026, 1, 15, 12, tzinfo=UTC)


class Part(Struct, rename="camel", forbid_unknown_fields=True):
    power_kw: float


class Order(Struct, rename="camel", forbid_unknown_fields=True):
    start_time: datetime
    amount_kw: Annotated[float, Meta(gt=0)]
    kind: Literal["soft", "hard"] | None = None
    label: Annotated[str, Meta(max_length=5)] | None = None
    parts: list[Part] = []

    def __post_init__(self) -> None:
        if self.amount_kw > 100:
            raise ValueError("amountKw must be at most 100")


class Orders:
    def on_post(self, request: falcon.Request, response: falcon.Response) -> None:
        read_bytes(request, 1_000)
        order = read_body(request, Order)
        response.media = {"kw": order.amount_kw, "bytes": len(request.context.body)}


@pytest.fixture(scope="module")
def client() -> testing.TestClient:
    app = falcon.App()
    app.add_route("/orders", Orders())
    return testing.TestClient(app)


def post(client: testing.TestClient, body: bytes | str, **headers: str) -> testing.Result:
    sent = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    return client.simulate_post("/orders", body=body, headers=sent)


def order(**fields: object) -> bytes:
    return msgspec.json.encode({"startTime": START, "amountKw": 2.5} | fields)


@pytest.mark.parametrize("media_type", ["application/json", "application/JSON; charset=utf-8"])
def test_a_body_is_read(media_type: str, client: testing.TestClient) -> None:
    body = order(parts=[{"powerKw": 1}], label="é\\u")
    response = post(client, body, Content_Type=media_type)
    assert (response.status_code, response.json) == (200, {"kw": 2.5, "bytes": len(body)})


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"{}", "startTime is missing."),
        (order(parts=[{}]), "parts[0].powerKw is missing."),
        (order(parts=[{"powerKw": "1"}]), "parts[0].powerKw: expected number, got string."),
        (
            order(Kind="soft"),
            "Kind is unknown; did you mean kind? There are startTime, amountKw, kind, label, parts.",
        ),
        (order(parts=[{"kw": 1}]), "parts[0].kw is unknown here."),
        (order(kind="medium"), "kind must be one of soft, hard."),
        (order(label=7), "label: expected string or null, got whole number."),
        (order(label="123456"), "label: expected string of length <= 5."),
        (order(amountKw=0), "amountKw: expected number > 0.0."),
        (order(amountKw=101), "amountKw must be at most 100."),
        (order(startTime="soon"), "startTime: invalid RFC3339 encoded datetime."),
        (b"[]", "The body is wrong: Expected object, got array."),
    ],
)
def test_what_is_wrong_is_told_by_the_field(body: bytes, told: str, client: testing.TestClient) -> None:
    response = post(client, body)
    assert (response.status_code, response.json["description"]) == (400, told)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b'{"amountKw": NaN}',
        b"\xff",
        b'{"a": "\xff"}',
        b'{"startTime": "2026-01-15T12:00:00Z", "amountKw": 1e999}',
        b"[" * 999,
        order(label="\0"),
        order(label="\\\0"),
    ],
)
def test_what_cannot_be_read_is_a_bad_request(body: bytes, client: testing.TestClient) -> None:
    assert post(client, body).status_code == 400


def test_a_backslash_is_not_a_nul(client: testing.TestClient) -> None:
    assert post(client, order(kind="soft", label="\\u00")).status_code == 200
    deep = order(label="\\u0000")
    assert re.search("length", post(client, deep).json["description"])


@given(st.binary(max_size=200))
def test_no_body_is_our_fault(client: testing.TestClient, body: bytes) -> None:
    assert post(client, body).status_code == 400


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", ""])
def test_other_media_types(media_type: str, client: testing.TestClient) -> None:
    """A form of a foreign page can send these without being asked first."""
    response = post(client, order(), Content_Type=media_type)
    assert response.status_code == 415
    assert "application/json" in response.json["description"]


def test_compressed_bodies(client: testing.TestClient) -> None:
    response = post(client, gzip.compress(order()), Content_Encoding="gzip")
    assert response.status_code == 415
    assert "Content-Encoding" in response.json["description"]


def test_too_large(client: testing.TestClient) -> None:
    assert post(client, order(label="x" * 2_000)).status_code == 413


def test_too_large_in_chunks(client: testing.TestClient) -> None:
    """Without a length, it is read only as far as it may be."""
    response = client.simulate_post(
        "/orders",
        body=b" " * 2_000 + order(),
        headers={"Content-Type": "application/json", "Content-Length": ""},
        extras={"wsgi.input_terminated": True},
    )
    assert response.status_code == 413
    assert "1000 bytes" in response.json["description"]
