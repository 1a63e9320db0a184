"""`auth/server` and `auth/token`: OAuth 2.0 client credentials (RFC 6749, 4.4), as a form or with Basic."""

import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote_plus

import falcon
import msgspec
from falcon import Request, Response
from msgspec import Struct, structs

from schemas.api.service import Problem
from schemas.openadr import AuthServer, TokenError, TokenRequest, TokenResponse
from serving.http.bodies import read_bytes
from serving.http.operations import Operation, ResponseSpec
from serving.http.responses import answer
from serving.openadr.auth.access import granted_scopes
from serving.openadr.auth.clients import ClientStore
from serving.openadr.auth.tokens import Tokens
from serving.policy import MAX_BODY_BYTES, OPENADR_PREFIX

FORM = "application/x-www-form-urlencoded"
GRANT = "client_credentials"
NO_STORE = "no-store"
TAG = "Auth"


class TokenProblem(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A problem that is an error of OAuth as well."""

    type: str
    title: str
    status: int
    detail: str
    error: str
    error_description: str = ""


class RefusedTokenError(Exception):
    """No token is issued."""

    def __init__(self, reason: TokenError, status: int = 400) -> None:
        super().__init__(reason.error_description)
        self.reason = reason
        self.status = status


class AuthServerResource:
    """Where tokens are to be had: here, or at the outside issuer that the settings name."""

    def __init__(self, *, is_https: bool) -> None:
        self._is_https = is_https

    @Operation(
        id="getAuthServerInfo",
        summary="Where tokens are to be had",
        tag=TAG,
        answers={200: ResponseSpec("The URL.", AuthServer)},
        needs_database=False,
    )
    def on_get(self, request: Request, response: Response) -> None:
        scheme = "https" if self._is_https else request.scheme
        version = request.path.removeprefix(OPENADR_PREFIX).partition("/")[0]
        answer(response, AuthServer(f"{scheme}://{request.netloc}{OPENADR_PREFIX}{version}/auth/token"))


class TokenResource:
    def __init__(self, clients: ClientStore, tokens: Tokens, clock: Callable[[], datetime]) -> None:
        self._clients = clients
        self._tokens = tokens
        self._clock = clock

    @Operation(
        id="fetchToken",
        summary="A token for a client's secret",
        tag=TAG,
        takes=TokenRequest,
        answers={
            200: ResponseSpec("The token, and its scopes.", TokenResponse),
            400: ResponseSpec("A form that is not valid.", TokenProblem),
            401: ResponseSpec("No such client, or its secret is another.", TokenProblem),
        },
        is_change=False,
    )
    def on_post(self, request: Request, response: Response) -> None:
        response.cache_control = [NO_STORE]
        try:
            answer(response, self._token(request))
        except RefusedTokenError as error:
            _refuse(response, error)

    def _token(self, request: Request) -> TokenResponse:
        asked = _token_request(request)
        own = self._clients.scopes(asked.client_id, asked.client_secret, self._clock())
        if own is None:
            raise RefusedTokenError(
                TokenError("invalid_client", "There is no such client, or its secret is another."), 401
            )
        try:
            scopes = granted_scopes(asked.scope, own)
        except ValueError as error:
            raise RefusedTokenError(TokenError("invalid_scope", str(error))) from None
        return self._tokens.issue(asked.client_id, scopes)


def _token_request(request: Request) -> TokenRequest:
    form = {**_form(request), **_basic(request)}
    if form.get("grant_type", GRANT) != GRANT:
        raise RefusedTokenError(TokenError("unsupported_grant_type", f"grant_type must be {GRANT}."))
    for name in ("grant_type", "client_id", "client_secret"):
        if not form.get(name):
            raise RefusedTokenError(TokenError("invalid_request", f"{name} is missing."))
    try:
        return msgspec.convert(form, TokenRequest)
    except msgspec.ValidationError as error:
        raise RefusedTokenError(TokenError("invalid_request", str(error))) from None


def _form(request: Request) -> dict[str, str]:
    """The fields of the form; one that is repeated is refused."""
    sent = (request.content_type or "").partition(";")[0].strip().lower()
    if sent != FORM:
        raise RefusedTokenError(TokenError("invalid_request", f"Send a form, with Content-Type: {FORM}."))
    try:
        pairs = parse_qsl(
            read_bytes(request, MAX_BODY_BYTES).decode("ascii"), keep_blank_values=True, errors="strict"
        )
    except ValueError:
        raise RefusedTokenError(TokenError("invalid_request", "The form is not URL-encoded UTF-8.")) from None
    if len(dict(pairs)) < len(pairs):
        raise RefusedTokenError(TokenError("invalid_request", "A field is given more than once."))
    return dict(pairs)


def _basic(request: Request) -> Mapping[str, str]:
    """The client and its secret in a header (RFC 6749, 2.3.1)."""
    scheme, _, text = (request.get_header("Authorization") or "").partition(" ")
    if scheme.lower() != "basic":
        return {}
    try:
        client_id, _, secret = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise RefusedTokenError(
            TokenError("invalid_request", "The header Authorization is not Basic.")
        ) from None
    return {"client_id": unquote_plus(client_id), "client_secret": unquote_plus(secret)}


def _refuse(response: Response, refused: RefusedTokenError) -> None:
    status = falcon.code_to_http_status(refused.status)
    response.status, title = status, status.partition(" ")[2]
    problem = Problem("about:blank", title, refused.status, refused.reason.error_description)
    answer(response, TokenProblem(**structs.asdict(problem), **structs.asdict(refused.reason)))
    if refused.status == HTTPStatus.UNAUTHORIZED:
        response.set_header("WWW-Authenticate", 'Basic realm="openadr3"')
