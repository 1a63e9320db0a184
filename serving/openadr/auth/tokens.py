"""Access tokens: JWTs that this service signs, or an outside issuer; checked once, then looked up."""

import secrets
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from joserfc.jws import extract_compact
from msgspec import Struct
from sqlalchemy import Connection, Engine

from schemas.openadr import TokenResponse
from schemas.times.instants import from_unix
from serving.auth.rate_limit import TokenBuckets
from serving.openadr.auth import queries
from serving.openadr.auth.access import SCOPES, Client
from serving.openadr.auth.clients import LONGEST_TOKEN, RevokedClients
from serving.openadr.auth.outside_tokens import OutsideTokens

ALGORITHM = "HS256"
"""Symmetric: only this service verifies these tokens."""

ISSUER = "gridgate"
AUDIENCE = "openadr3"
TOKEN_LASTS = timedelta(hours=1)
ROTATED_AFTER = timedelta(days=30)
KEY_LASTS = ROTATED_AFTER + LONGEST_TOKEN
LONGEST_TEXT = 8_192
MOST_TOKENS = 50_000
"""Checked tokens that one process remembers; a token that it has forgotten is checked again."""

READ_AGAIN_AFTER = timedelta(minutes=1)
"""After so long, keys are read again for any token with an unknown key."""

MISSES_PER_S, MISSES_AT_ONCE = 1.0, 10
"""An unknown key may be new, so keys are read again; but not for each forged token."""


class SigningKey(Struct, frozen=True):
    key_id: str
    key: OctKey
    created_at: datetime
    expires_at: datetime


class SigningKeys:
    """Keys that sign tokens, stored in the database: made when first needed, and replaced after a while."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock
        self._keys: dict[str, SigningKey] = {}
        self._read_at: datetime | None = None
        self._misses = TokenBuckets(MISSES_PER_S, MISSES_AT_ONCE, lambda: clock().timestamp(), buckets=1)

    def newest(self) -> SigningKey:
        """The key to sign with."""
        now = self._clock()
        key = _newest(self._keys, now)
        if key is None:
            self._keys, self._read_at = self._read_or_make(now), now
            key = _newest(self._keys, now)
        if key is None:
            raise AssertionError("a key was made")
        return key

    def by_id(self, key_id: object) -> SigningKey | None:
        """The key of an id, if it has not expired."""
        now = self._clock()
        is_old = self._read_at is None or now - self._read_at > READ_AGAIN_AFTER
        if key_id not in self._keys and (is_old or self._misses.take("").is_granted):
            with self._engine.connect() as connection:
                self._keys, self._read_at = _keys(connection, now), now
        key = self._keys.get(str(key_id))
        return key if key is not None and key.expires_at > now else None

    def _read_or_make(self, now: datetime) -> dict[str, SigningKey]:
        with self._engine.begin() as connection:
            connection.execute(queries.LOCK_SIGNING_KEYS)
            connection.execute(queries.forget_signing_keys(now))
            if _newest(_keys(connection, now), now) is None:
                connection.execute(queries.add_signing_key(_new_key(now)))
            return _keys(connection, now)


def _newest(keys: dict[str, SigningKey], now: datetime) -> SigningKey | None:
    young = [key for key in keys.values() if now - key.created_at < ROTATED_AFTER]
    return max(young, key=lambda key: (key.created_at, key.key_id), default=None)


def _keys(connection: Connection, now: datetime) -> dict[str, SigningKey]:
    return {
        row.key_id: SigningKey(row.key_id, OctKey.import_key(row.secret), row.created_at, row.expires_at)
        for row in queries.signing_keys(now).all(connection)
    }


def _new_key(now: datetime) -> dict[str, object]:
    key_id, secret = secrets.token_hex(8), secrets.token_bytes(32)
    return {"key_id": key_id, "secret": secret, "created_at": now, "expires_at": now + KEY_LASTS}


class Tokens:
    """Issues and checks tokens."""

    def __init__(
        self,
        keys: SigningKeys,
        revoked: RevokedClients,
        clock: Callable[[], datetime],
        lasts: timedelta = TOKEN_LASTS,
        outside: OutsideTokens | None = None,
    ) -> None:
        self._keys = keys
        self._revoked = revoked
        self._clock = clock
        self._lasts = lasts
        self._outside = outside
        self._lock = threading.Lock()
        self._checked: dict[str, Client] = {}

    def issue(self, client_id: str, scopes: Sequence[str]) -> TokenResponse:
        now, key, scope = self._clock(), self._keys.newest(), " ".join(scopes)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": client_id,
            "scope": scope,
            "iat": int(now.timestamp()),
            "exp": int((now + self._lasts).timestamp()),
            "jti": secrets.token_hex(8),
        }
        text = jwt.encode({"alg": ALGORITHM, "kid": key.key_id}, claims, key.key)
        seconds = int(self._lasts.total_seconds())
        return TokenResponse(access_token=text, token_type="Bearer", expires_in=seconds, scope=scope)  # noqa: S106 - no password

    def client(self, text: str) -> Client | None:
        """The client of a token; None if it is not valid now.

        Raises:
            IssuerAwayError: the keys of the outside issuer cannot be read.
        """
        if len(text) > LONGEST_TEXT:
            return None
        client = self._checked.get(text)
        if client is None:
            client = self._check(text)
            if client is None:
                return None
            self._remember(text, client)
        if client.expires_at <= self._clock() or self._revoked.has(client.client_id):
            return None
        return client

    def _remember(self, text: str, client: Client) -> None:
        with self._lock:
            if len(self._checked) >= MOST_TOKENS:
                now = self._clock()
                lasting = {each: kept for each, kept in self._checked.items() if kept.expires_at > now}
                self._checked = lasting if len(lasting) < MOST_TOKENS else {}
            self._checked[text] = client

    def _check(self, text: str) -> Client | None:
        try:
            key = self._keys.by_id(extract_compact(text.encode()).headers().get("kid"))
        except (JoseError, ValueError):
            return None
        if key is None:
            return None if self._outside is None else self._outside.client(text)
        return self._own_client(text, key)

    def _own_client(self, text: str, key: SigningKey) -> Client | None:
        rules = jwt.JWTClaimsRegistry(
            now=int(self._clock().timestamp()),
            iss={"essential": True, "value": ISSUER},
            aud={"essential": True, "value": AUDIENCE},
            sub={"essential": True},
            exp={"essential": True},
        )
        try:
            claims = jwt.decode(text, key.key, algorithms=[ALGORITHM]).claims
            rules.validate(claims)
        except (JoseError, ValueError):
            return None
        scopes = frozenset(str(claims.get("scope", "")).split()) & SCOPES.keys()
        return Client(claims["sub"], frozenset(scopes), from_unix(claims["exp"]))
