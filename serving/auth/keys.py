"""API keys and browsers' sessions: created, revoked, and cached in each process for some seconds.

A secret is 256 random bits, shown once and stored as a digest. A slow hash protects passwords chosen by
people; random bits cannot be guessed, so SHA-256 is as safe, and saves 0.1 s of each request.
"""

import hashlib
import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import falcon
from falcon import Request
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError

from schemas.api.access import Role
from schemas.programs.redaction import SECRET
from serving.auth import queries
from serving.auth.queries import KeyRow, SessionRow
from serving.auth.rate_limit import TokenBuckets

KEY = "gg"
SESSION = "gs"
NO_DIGEST = bytes(32)


@dataclass(frozen=True)
class PresentedSecret:
    """A secret as it was sent, looked up by its public id and compared by its digest."""

    kind: str
    public_id: str
    digest: bytes


def make_secret(kind: str) -> str:
    return f"{kind}_{secrets.token_hex(6)}_{secrets.token_hex(32)}"


def read_secret(text: str) -> PresentedSecret | None:
    """Parse a secret; None for a text of another form."""
    match = SECRET.fullmatch(text)
    if match is None:
        return None
    return PresentedSecret(match[1], match[2], hashlib.sha256(match[3].encode()).digest())


def is_same(digest: bytes | None, secret: PresentedSecret) -> bool:
    """Compare a secret with a digest in constant time, also for an unknown id."""
    return hmac.compare_digest(digest or NO_DIGEST, secret.digest) and digest is not None


FRESH_FOR = timedelta(seconds=2)
"""How long a process caches keys: a revoked key works no longer than this."""

MISSES_PER_S = 5.0
MISSES_AT_ONCE = 20
"""Shortest time between reads for unknown keys: a key may be new, but guesses must not cause reads.

Each process has this rate: its reads are for its own cache.
"""

SESSION_LASTS = timedelta(hours=12)


class KeyNameTakenError(ValueError):
    """There is a key of that name already."""


class UnknownKeyError(LookupError):
    """There is no key of that name, or it was revoked before."""


@dataclass(frozen=True)
class Caller:
    """The name and role of a caller, identified by a session (a cookie) or by the key itself."""

    name: str
    role: Role
    key_id: str | None = None
    expires_at: datetime | None = None
    session_id: str | None = None

    @property
    def is_session(self) -> bool:
        return self.session_id is not None

    @property
    def keyring_id(self) -> tuple[str, str | None]:
        """The kind and the public id of the caller's secret."""
        return (KEY, self.key_id) if self.session_id is None else (SESSION, self.session_id)


ANONYMOUS = Caller("anonymous", "operator")
"""The caller of every request if no keys are required."""


def caller_of(request: Request) -> Caller:
    caller: Caller = getattr(request.context, "caller", ANONYMOUS)
    return caller


def require_operator(request: Request) -> None:
    """Refuse a viewer.

    Raises:
        falcon.HTTPForbidden: the caller is a viewer.
    """
    caller = caller_of(request)
    if caller.role != "operator":
        raise falcon.HTTPForbidden(
            description=f"{request.method} {request.path} needs a key with the role operator; "
            f"{caller.name!r} has the role {caller.role}."
        )


@dataclass(frozen=True)
class _ValidSecret:
    caller: Caller
    digest: bytes


class KeyStore:
    """Keys and sessions in the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, name: str, role: str, expires_at: datetime | None, now: datetime) -> str:
        """Create a key; returns its secret, which cannot be shown again.

        Raises:
            KeyNameTakenError: there is a key of that name, and it is not revoked.
        """
        text, row = _new_secret(KEY, now)
        row |= {"name": name, "role": role, "expires_at": expires_at}
        try:
            with self._engine.begin() as connection:
                connection.execute(queries.add_key(row))
                connection.execute(queries.notify_keys())
        except IntegrityError:
            detail = f"There is a key {name!r} already: revoke it first, or take another name."
            raise KeyNameTakenError(detail) from None
        return text

    def revoke(self, name: str, now: datetime) -> None:
        """Revoke a key, and the sessions that were opened with it.

        Raises:
            UnknownKeyError: there is no valid key of that name.
        """
        with self._engine.begin() as connection:
            if connection.execute(queries.revoke(name, now)).first() is None:
                raise UnknownKeyError(f"There is no key {name!r} that could be revoked.")
            connection.execute(queries.notify_keys())

    def all_keys(self) -> list[KeyRow]:
        """Return all keys, also revoked and expired ones, oldest first."""
        with self._engine.connect() as connection:
            return queries.all_keys().all(connection)

    def open_session(self, caller: Caller, now: datetime) -> tuple[str, datetime]:
        """Open a session; returns the secret of its cookie, and its expiry: no later than that of the key."""
        text, row = _new_secret(SESSION, now)
        expires_at = min(now + SESSION_LASTS, caller.expires_at or datetime.max.replace(tzinfo=now.tzinfo))
        session = {"session_id": row.pop("key_id"), "key_id": caller.key_id, "expires_at": expires_at} | row
        with self._engine.begin() as connection:
            connection.execute(queries.end_surplus_sessions(str(caller.key_id), now))
            connection.execute(queries.add_session(session))
        return text, expires_at

    def end_session(self, secret: PresentedSecret) -> None:
        with self._engine.begin() as connection:
            connection.execute(queries.end_session(secret.public_id, secret.digest))
            connection.execute(queries.notify_keys())

    def valid(self, now: datetime) -> dict[tuple[str, str], _ValidSecret]:
        """Return the currently valid secrets, by kind and public id."""
        with self._engine.connect() as connection:
            keys = {key.key_id: key for key in queries.live_keys(now).each(connection)}
            sessions = queries.live_sessions(now).all(connection)
        valid = {(KEY, key_id): _ValidSecret(_caller(key), key.digest) for key_id, key in keys.items()}
        for session in sessions:
            if session.key_id in keys:
                caller = _caller(keys[session.key_id], session)
                valid[SESSION, session.session_id] = _ValidSecret(caller, session.digest)
        return valid


def _new_secret(kind: str, now: datetime) -> tuple[str, dict[str, object]]:
    text = make_secret(kind)
    secret = read_secret(text)
    if secret is None:
        raise AssertionError("a new secret can be read")
    return text, {"key_id": secret.public_id, "digest": secret.digest, "created_at": now}


def _caller(key: KeyRow, session: SessionRow | None = None) -> Caller:
    if session is None:
        return Caller(key.name, key.role, key.key_id, key.expires_at)
    return Caller(key.name, key.role, key.key_id, session.expires_at, session.session_id)


class Keyring:
    """A cache of all valid keys and sessions in one process: an invalid secret costs no query."""

    def __init__(
        self, store: KeyStore, clock: Callable[[], datetime], on_end: Callable[[], None] = lambda: None
    ) -> None:
        """`on_end` is called when keys or sessions stop being valid."""
        self._store = store
        self._clock = clock
        self._on_end = on_end
        self._lock = threading.Lock()
        self._valid: dict[tuple[str, str], _ValidSecret] = {}
        self._read_at: datetime | None = None
        self._misses = TokenBuckets(MISSES_PER_S, MISSES_AT_ONCE, lambda: clock().timestamp(), buckets=1)

    def caller(self, text: str) -> Caller | None:
        """Return the caller with this secret; None if it is not valid."""
        secret = read_secret(text)
        if secret is None:
            return None
        self._read_if_stale()
        keyring_id = (secret.kind, secret.public_id)
        if keyring_id not in self._valid and self._misses.take("").is_granted:
            self.refresh()
        return self._caller_with(secret)

    def caller_in_memory(self, text: str) -> Caller | None:
        """Return the caller without a query; None also if the cached keys are stale."""
        secret = read_secret(text)
        return self._caller_with(secret) if secret is not None and self._is_fresh() else None

    def caller_last_read(self, text: str) -> Caller | None:
        """Return the caller by the cached keys, however stale."""
        secret = read_secret(text)
        return None if secret is None else self._caller_with(secret)

    def _caller_with(self, secret: PresentedSecret) -> Caller | None:
        valid = self._valid.get((secret.kind, secret.public_id))
        if not is_same(valid.digest if valid else None, secret) or valid is None:
            return None
        return valid.caller if self._is_unexpired(valid.caller) else None

    def is_valid(self, caller: Caller) -> bool:
        """Return whether the key or session of a caller is still valid."""
        self._read_if_stale()
        return self._is_unexpired(caller) and caller.keyring_id in self._valid

    def refresh(self) -> None:
        now, before = self._clock(), self._valid
        self._valid = self._store.valid(now)
        self._read_at = now
        if before.keys() - self._valid.keys():
            self._on_end()

    def _read_if_stale(self) -> None:
        if self._is_fresh():
            return
        with self._lock:
            if not self._is_fresh():
                self.refresh()

    def _is_fresh(self) -> bool:
        read_at = self._read_at
        return read_at is not None and timedelta(0) <= self._clock() - read_at < FRESH_FOR

    def _is_unexpired(self, caller: Caller) -> bool:
        return caller.expires_at is None or caller.expires_at > self._clock()
