"""A client of a VTN: tokens by client credentials, responses cached by ETag, and errors."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlencode

import httpcore
import msgspec

Form = TypeVar("Form")

TIMEOUT_S = 30.0
JSON = "application/json"


class VtnError(Exception):
    """The VTN refuses a request permanently."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class TryLaterError(Exception):
    """The VTN is busy or unreachable. `after_s`: the wait that it requests, s."""

    def __init__(self, message: str, after_s: float = 0.0) -> None:
        super().__init__(message)
        self.after_s = after_s


@dataclass(frozen=True)
class _CachedResponse:
    etag: str
    content: bytes


class VtnClient:
    """One client of a VTN. It belongs to one thread at a time; the pool may be shared."""

    def __init__(self, pool: httpcore.ConnectionPool, base_url: str, client_id: str, secret: str) -> None:
        self.client_id = client_id
        self._pool = pool
        self._base_url = base_url.rstrip("/")
        self._secret = secret
        self._token = ""
        self._cached: dict[str, _CachedResponse] = {}

    def read(self, path: str, form: type[Form]) -> Form:
        """Read the objects at a path, by a conditional request (304 if unchanged).

        Raises:
            VtnError: it is refused.
            TryLaterError: the VTN is busy or away.
        """
        cached = self._cached.get(path)
        response = self._request("GET", path, {"If-None-Match": cached.etag} if cached else {})
        if cached is None or response.status != HTTPStatus.NOT_MODIFIED:
            cached = _CachedResponse(_header(response, b"etag"), response.content)
        if cached.etag:
            self._cached[path] = cached
        return msgspec.json.decode(cached.content, type=form)

    def write(self, method: str, path: str, body: Mapping[str, object], form: type[Form]) -> Form:
        """Create (POST) or replace (PUT) an object; returns it as stored by the VTN.

        Raises:
            VtnError: it is refused.
            TryLaterError: the VTN is busy or away.
        """
        response = self._request(method, path, {"Content-Type": JSON}, msgspec.json.encode(body))
        return msgspec.json.decode(response.content, type=form)

    def _request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> httpcore.Response:
        """Send a request; retry once with a new token if the token has expired."""
        is_new = not self._token
        response = self._send(method, path, {**headers, "Authorization": f"Bearer {self._bearer()}"}, body)
        if response.status == HTTPStatus.UNAUTHORIZED and not is_new:
            self._token = ""
            return self._request(method, path, headers, body)
        return _accepted(response, f"{method} {path}")

    def _bearer(self) -> str:
        if not self._token:
            form = {"grant_type": "client_credentials", "client_id": self.client_id}
            body = urlencode({**form, "client_secret": self._secret}).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            response = _accepted(self._send("POST", "/auth/token", headers, body), "auth/token")
            self._token = msgspec.json.decode(response.content)["access_token"]
        return self._token

    def _send(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> httpcore.Response:
        limits = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_S)
        fields = [("Accept", JSON), *headers.items()]
        try:
            return self._pool.request(
                method, self._base_url + path, headers=fields, content=body, extensions={"timeout": limits}
            )
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError) as error:
            raise TryLaterError(f"{method} {path}: {type(error).__name__} {error}".rstrip()) from error


def _accepted(response: httpcore.Response, request: str) -> httpcore.Response:
    status = response.status
    if status < HTTPStatus.BAD_REQUEST:
        return response
    message = f"{request}: {status} {response.content.decode(errors='replace')[:300]}"
    if status == HTTPStatus.TOO_MANY_REQUESTS or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise TryLaterError(message, _seconds(_header(response, b"retry-after")))
    raise VtnError(status, message)


def _seconds(text: str) -> float:
    """Of `Retry-After`; 0 where it is missing, or a date."""
    return float(text) if text.isdecimal() else 0.0


def _header(response: httpcore.Response, name: bytes) -> str:
    return next((value.decode("ascii") for key, value in response.headers if key.lower() == name), "")
