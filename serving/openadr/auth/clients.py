"""OpenADR clients: made, listed and revoked; and those whose tokens hold no longer."""

import hashlib
import hmac
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from serving.auth.keys import make_secret
from serving.openadr.auth import queries
from serving.openadr.auth.access import ROLE_SCOPES
from serving.openadr.auth.queries import ClientRow

KIND = "gc"
NO_DIGEST = bytes(32)
RESERVED_ID = "gridgate"
"""Whose objects the program of this service and its events are."""

FRESH_FOR = timedelta(seconds=2)
"""How long a process uses the revocations that it has read."""

LONGEST_TOKEN = timedelta(days=1)
"""The longest life that the settings allow a token."""


class ClientIdTakenError(ValueError):
    """There is, or was, a client of that id."""


class UnknownClientError(LookupError):
    """There is no client of that id, or it was revoked before."""


class NewClient(Struct, frozen=True):
    """A client that is to be made; without scopes it has all of its role."""

    client_id: str
    role: str
    scopes: Sequence[str] = ()
    expires_at: datetime | None = None


class ClientStore:
    """Clients in the database. A secret is 256 random bits, shown once and stored as a digest."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, new: NewClient, now: datetime) -> str:
        """The secret of a new client.

        Raises:
            ClientIdTakenError: the id was used before, also by a client that is revoked.
            ValueError: a scope is none of its role.
        """
        if new.client_id == RESERVED_ID:
            raise ClientIdTakenError(f"{new.client_id!r} is this service itself: choose another")
        possible = ROLE_SCOPES[new.role]
        if surplus := [scope for scope in new.scopes if scope not in possible]:
            raise ValueError(f"{surplus[0]!r} is no scope of {new.role}; there are {', '.join(possible)}")
        secret = make_secret(KIND)
        row = {
            "client_id": new.client_id,
            "role": new.role,
            "scopes": [scope for scope in possible if not new.scopes or scope in new.scopes],
            "digest": _digest(secret),
            "created_at": now,
            "expires_at": new.expires_at,
        }
        try:
            with self._engine.begin() as connection:
                connection.execute(queries.add_client(row))
        except IntegrityError:
            raise ClientIdTakenError(
                f"{new.client_id!r} is, or was, the id of a client: choose another"
            ) from None
        return secret

    def revoke(self, client_id: str, now: datetime) -> None:
        """Let a client get no more tokens, and those that it has hold no longer.

        Raises:
            UnknownClientError: there is none, or it was revoked before.
        """
        with self._engine.begin() as connection:
            if connection.execute(queries.revoke_client(client_id, now)).first() is None:
                raise UnknownClientError(f"there is no client {client_id!r} that is not revoked")

    def all_clients(self) -> list[ClientRow]:
        with self._engine.connect() as connection:
            return queries.all_clients().all(connection)

    def scopes(self, client_id: str, secret: str, now: datetime) -> Sequence[str] | None:
        """The scopes of a client that shows its secret; None if it is none, or its secret is another."""
        with self._engine.connect() as connection:
            row = queries.client(client_id).first(connection)
        is_right = hmac.compare_digest(NO_DIGEST if row is None else row.digest, _digest(secret))
        if row is None or not is_right or row.revoked_at is not None:
            return None
        return row.scopes if row.expires_at is None or row.expires_at > now else None

    def revoked_since(self, since: datetime) -> frozenset[str]:
        with self._engine.connect() as connection:
            return frozenset(connection.execute(queries.revoked_since(since)).scalars())


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


class RevokedClients:
    """Clients whose tokens hold no longer, in the memory of one process."""

    def __init__(self, store: ClientStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._ids: frozenset[str] = frozenset()
        self._read_at: datetime | None = None

    def has(self, client_id: str) -> bool:
        if not self._is_fresh():
            with self._lock:
                if not self._is_fresh():
                    now = self._clock()
                    self._ids, self._read_at = self._store.revoked_since(now - LONGEST_TOKEN), now
        return client_id in self._ids

    def _is_fresh(self) -> bool:
        read_at = self._read_at
        return read_at is not None and timedelta(0) <= self._clock() - read_at < FRESH_FOR
