"""API keys and browsers' sessions: made, revoked, and known to a process for some seconds at a time."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Engine, Row
from sqlalchemy.exc import IntegrityError

from schemas.http import Role
from serving.queries import access
from serving.rates import TokenBuckets
from serving.secrets import KEY, SESSION, Secret, is_same, make_secret, read_secret

FRESH_FOR = timedelta(seconds=2)
"""How long a process trusts what it knows: a revoked key works no longer than this."""

LOOKS_PER_S = 5.0
LOOKS_AT_ONCE = 20
"""A key that we do not know may be new. We look again at once, but not for each guess of an attacker."""

SESSION_LASTS = timedelta(hours=12)


class NameTaken(ValueError):  # noqa: N818 - the same
    """There is a key of that name already."""


class UnknownKey(LookupError):  # noqa: N818 - a plain answer to a plain question
    """There is no key of that name, or it was revoked before."""


@dataclass(frozen=True)
class Caller:
    """Who calls, and what he may do; by a session if a cookie says so, and not the key itself."""

    name: str
    role: Role
    key_id: str | None = None
    expires_at: datetime | None = None
    session_id: str | None = None

    @property
    def is_session(self) -> bool:
        return self.session_id is not None

    @property
    def place(self) -> tuple[str, str | None]:
        """What he has shown, as a keyring knows it: its kind and its public id."""
        return (KEY, self.key_id) if self.session_id is None else (SESSION, self.session_id)


ANONYMOUS = Caller("anonymous", "operator")
"""Everybody, where no keys are asked for."""


@dataclass(frozen=True)
class _Known:
    caller: Caller
    digest: bytes


class KeyStore:
    """Keys and sessions in the database."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(self, name: str, role: str, expires_at: datetime | None, now: datetime) -> str:
        """A new key; nobody can tell it a second time.

        Raises:
            NameTaken: there is a key of that name, and it is not revoked.
        """
        text, row = _new_secret(KEY, now)
        row |= {"name": name, "role": role, "expires_at": expires_at}
        try:
            with self._engine.begin() as connection:
                connection.execute(access.add_key(row))
                connection.execute(access.tell_of_keys())
        except IntegrityError:
            detail = f"There is a key {name!r} already: revoke it first, or take another name."
            raise NameTaken(detail) from None
        return text

    def revoke(self, name: str, now: datetime) -> None:
        """Let a key, and the sessions that it lent itself to, work no more.

        Raises:
            UnknownKey: there is none of that name that works.
        """
        with self._engine.begin() as connection:
            if connection.execute(access.revoke(name, now)).first() is None:
                raise UnknownKey(f"There is no key {name!r} that could be revoked.")
            connection.execute(access.tell_of_keys())

    def everyone(self) -> list[Row[Any]]:
        """All keys that there ever were, the oldest first."""
        with self._engine.connect() as connection:
            return list(connection.execute(access.all_keys()))

    def open_session(self, caller: Caller, now: datetime) -> tuple[str, datetime]:
        """A secret for a browser's cookie, and when it expires: no later than the key."""
        text, row = _new_secret(SESSION, now)
        expires_at = min(now + SESSION_LASTS, caller.expires_at or datetime.max.replace(tzinfo=now.tzinfo))
        session = {"session_id": row.pop("key_id"), "key_id": caller.key_id, "expires_at": expires_at} | row
        with self._engine.begin() as connection:
            connection.execute(access.make_room(str(caller.key_id), now))
            connection.execute(access.add_session(session))
        return text, expires_at

    def end_session(self, shown: Secret) -> None:
        with self._engine.begin() as connection:
            connection.execute(access.end_session(shown.public_id, shown.digest))
            connection.execute(access.tell_of_keys())

    def known(self, now: datetime) -> dict[tuple[str, str], _Known]:
        """Who may call now, by kind and public id."""
        with self._engine.connect() as connection:
            keys = {row.key_id: row for row in connection.execute(access.live_keys(now))}
            sessions = connection.execute(access.live_sessions(now)).all()
        known = {(KEY, key_id): _Known(_caller(row), row.digest) for key_id, row in keys.items()}
        for row in sessions:
            if row.key_id in keys:
                caller = _caller(keys[row.key_id], session=row)
                known[SESSION, row.session_id] = _Known(caller, row.digest)
        return known


def _new_secret(kind: str, now: datetime) -> tuple[str, dict[str, Any]]:
    text = make_secret(kind)
    secret = read_secret(text)
    if secret is None:
        raise AssertionError("we can read what we make")
    return text, {"key_id": secret.public_id, "digest": secret.digest, "created_at": now}


def _caller(key: Row[Any], session: Row[Any] | None = None) -> Caller:
    if session is None:
        return Caller(key.name, key.role, key.key_id, key.expires_at)
    return Caller(key.name, key.role, key.key_id, session.expires_at, session.session_id)


class Keyring:
    """What a process knows of keys. They are few: it holds all of them, and a guess costs no query."""

    def __init__(self, store: KeyStore, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str], _Known] = {}
        self._looked_at: datetime | None = None
        self._looks = TokenBuckets(LOOKS_PER_S, LOOKS_AT_ONCE)

    def caller(self, shown: str) -> Caller | None:
        """Whose secret this is; None if nobody's, or no longer."""
        secret = read_secret(shown)
        if secret is None:
            return None
        self._look()
        place = (secret.kind, secret.public_id)
        if place not in self._known and self._looks.take("", self._clock().timestamp()).is_granted:
            self.refresh()
        return self._whose(secret)

    def caller_at_hand(self, shown: str) -> Caller | None:
        """The same, if it can be told without a look; who is None here may be somebody there."""
        secret = read_secret(shown)
        return self._whose(secret) if secret is not None and self._is_fresh() else None

    def caller_last_known(self, shown: str) -> Caller | None:
        """The same, as of the last look that succeeded, however long ago that was."""
        secret = read_secret(shown)
        return None if secret is None else self._whose(secret)

    def _whose(self, secret: Secret) -> Caller | None:
        known = self._known.get((secret.kind, secret.public_id))
        if not is_same(known.digest if known else None, secret) or known is None:
            return None
        return known.caller if self._is_in_time(known.caller) else None

    def is_valid(self, caller: Caller) -> bool:
        """Whether a caller whom we once let in may stay."""
        self._look()
        return self._is_in_time(caller) and caller.place in self._known

    def refresh(self) -> None:
        now = self._clock()
        self._known = self._store.known(now)
        self._looked_at = now

    def _look(self) -> None:
        if self._is_fresh():
            return
        with self._lock:
            if not self._is_fresh():
                self.refresh()

    def _is_fresh(self) -> bool:
        looked_at = self._looked_at
        return looked_at is not None and timedelta(0) <= self._clock() - looked_at < FRESH_FOR

    def _is_in_time(self, caller: Caller) -> bool:
        return caller.expires_at is None or caller.expires_at > self._clock()
