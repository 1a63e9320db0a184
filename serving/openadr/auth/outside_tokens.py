"""Tokens of an outside OpenID Connect issuer, by the public keys that it offers."""

import threading
import urllib.request
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

import msgspec
import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import extract_compact
from msgspec import Struct

from schemas.times.instants import from_unix
from serving.errors import NotReadyError
from serving.openadr.auth.access import SCOPES, Client

DISCOVERY = "/.well-known/openid-configuration"
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""With a public key only: `none` and the symmetric ones would let anybody sign."""

WAIT_S = 5.0
MOST_BYTES = 1_048_576
READ_AGAIN_AFTER = timedelta(seconds=30)
"""How soon a token with an unknown key has the issuer's keys read again."""

KEPT_FOR = timedelta(hours=12)
CLIENT_CLAIMS = ("client_id", "azp", "sub")
"""What issuers call the client, the first that is there."""


class Issuer(Struct, frozen=True):
    """An issuer and the audience that its tokens must name."""

    url: str
    audience: str


class IssuerAwayError(NotReadyError):
    """The keys of the issuer cannot be read."""


class OutsideTokens:
    """Checks tokens of one issuer; its keys are read when first needed, and again for an unknown key."""

    def __init__(
        self,
        issuer: Issuer,
        clock: Callable[[], datetime],
        read: Callable[[str], bytes] | None = None,
    ) -> None:
        self._issuer = issuer
        self._clock = clock
        self._read = read or read_url
        self._lock = threading.Lock()
        self._keys: KeySet | None = None
        self._read_at: datetime | None = None

    def client(self, text: str) -> Client | None:
        """The client of a token; None if it is not valid.

        Raises:
            IssuerAwayError: the issuer's keys cannot be read, and none are known.
        """
        try:
            key_id = extract_compact(text.encode()).headers().get("kid")
            claims = jwt.decode(text, self._keys_with(key_id), algorithms=ALGORITHMS).claims
            self._rules().validate(claims)
        except (JoseError, ValueError):
            return None
        return _client(claims)

    def _rules(self) -> jwt.JWTClaimsRegistry:
        return jwt.JWTClaimsRegistry(
            now=int(self._clock().timestamp()),
            iss={"essential": True, "value": self._issuer.url},
            aud={"essential": True, "value": self._issuer.audience},
            exp={"essential": True},
        )

    def _keys_with(self, key_id: object) -> KeySet:
        with self._lock:
            now = self._clock()
            age = None if self._read_at is None else now - self._read_at
            is_unknown = self._keys is None or key_id not in {key.kid for key in self._keys.keys}
            if age is None or age > KEPT_FOR or (is_unknown and age > READ_AGAIN_AFTER):
                self._read_at = now
                self._keys = self._read_keys() or self._keys
            if self._keys is None:
                raise IssuerAwayError(f"The keys of {self._issuer.url} cannot be read: try again.")
            return self._keys

    def _read_keys(self) -> KeySet | None:
        try:
            discovered = msgspec.json.decode(self._read(self._issuer.url.rstrip("/") + DISCOVERY))
            return KeySet.import_key_set(msgspec.json.decode(self._read(discovered["jwks_uri"])))
        except (OSError, ValueError, KeyError, TypeError, JoseError) as error:
            structlog.get_logger().error("issuer_failed", issuer=self._issuer.url, error=str(error))
            return None


def _client(claims: Mapping[str, Any]) -> Client | None:
    names = [claims[name] for name in CLIENT_CLAIMS if isinstance(claims.get(name), str) and claims[name]]
    words = claims.get("scope", claims.get("scp", ""))
    scopes = words if isinstance(words, list) else str(words).split()
    if not names:
        return None
    known = frozenset(scope for scope in scopes if scope in SCOPES)
    return Client(names[0], known, from_unix(claims["exp"]))


def read_url(url: str) -> bytes:
    """The content of a URL.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no URL of HTTP, or its content is too long.
    """
    if not url.startswith(("https://", "http://")):
        raise ValueError(f"{url[:80]} is no URL of HTTP")
    with urllib.request.urlopen(url, timeout=WAIT_S) as response:  # noqa: S310 - checked above
        content: bytes = response.read(MOST_BYTES + 1)
    if len(content) > MOST_BYTES:
        raise ValueError(f"{url[:80]} has more than {MOST_BYTES} bytes")
    return content
