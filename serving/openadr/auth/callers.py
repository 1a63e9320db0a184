"""The token of an OpenADR client, its rate, and the scope that its request needs."""

import math

import falcon
from falcon import Request, Response

from serving.auth.keys import Caller
from serving.auth.rate_limit import TokenBuckets
from serving.http.operations import operation_of
from serving.openadr.auth.access import Client, require_scope
from serving.openadr.auth.tokens import Tokens

REALM = 'Bearer realm="openadr3"'
WHO = "openadr:"
"""Prefix of a client's id in the audit log; the name of a key has no colon."""


class OpenAdrAccess:
    """Lets a request to a route of OpenADR pass whose token has a scope that the operation names."""

    def __init__(self, tokens: Tokens, buckets: TokenBuckets | None) -> None:
        self._tokens = tokens
        self._buckets = buckets

    def authorize(self, request: Request, response: Response, resource: object) -> None:
        """Refuse clients without a valid token, or with too small a scope; before the request is audited."""
        operation = operation_of(resource, request.method)
        if operation is None:
            return
        if not operation.scopes:
            self._limit_rate(response, f"address {request.remote_addr}")
            return
        client = self._identify(request)
        request.context.openadr_client = client
        request.context.caller = Caller(f"{WHO}{client.client_id}", "operator")
        self._limit_rate(response, f"client {client.client_id}")
        require_scope(client, operation.scopes)

    def _identify(self, request: Request) -> Client:
        scheme, _, text = (request.get_header("Authorization") or "").partition(" ")
        if scheme.lower() != "bearer" or not text.strip():
            raise _unauthorized("Send a token of auth/token as Authorization: Bearer TOKEN.", REALM)
        client = self._tokens.client(text.strip())
        if client is None:
            detail = "This token has expired, was revoked, or is not valid: get a new one from auth/token."
            raise _unauthorized(detail, f'{REALM}, error="invalid_token"')
        return client

    def _limit_rate(self, response: Response, who: str) -> None:
        if self._buckets is None:
            return
        grant = self._buckets.take(who)
        if not grant.is_granted:
            response.set_header("RateLimit-Policy", self._buckets.policy)
            raise falcon.HTTPTooManyRequests(
                description=f"This {who.partition(' ')[0]} calls more often than it may "
                f"({self._buckets.policy}).",
                retry_after=math.ceil(grant.next_in_s),
            )


def client_of(request: Request) -> Client:
    """The client of a request that has passed."""
    client: Client = request.context.openadr_client
    return client


def _unauthorized(detail: str, challenge: str) -> falcon.HTTPUnauthorized:
    return falcon.HTTPUnauthorized(description=detail, challenges=[challenge])
