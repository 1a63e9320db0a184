"""Creates, rotates and revokes VENs' credentials, which ingest applies to the broker."""

import re
import secrets
from collections.abc import Callable, Iterator
from datetime import datetime

from sqlalchemy import Connection, Engine

from schemas.api.credentials import CredentialStatus, MadeCredential, VenCredential
from schemas.credentials import NO_KEY, seal
from schemas.devices.identifiers import is_topic_level
from serving.db.reading import in_blocks, snapshot
from serving.errors import ConflictError, InvalidRequestError, NotFoundError, no_ven
from serving.page import CredentialFilter, Page
from serving.registry import credential_queries as queries
from serving.registry import queries as registry
from serving.registry.credential_queries import CredentialRow

KIND = "gv"
AT_ONCE = 1_000
SUBSTITUTION = re.compile("%[cu]")
"""Placeholders that some brokers replace by client id and user name in topics of access lists."""


class VenCredentials:
    """The table `ven_credentials`, from which ingest updates the broker."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], key: bytes | None) -> None:
        self._engine = engine
        self._clock = clock
        self._key = key

    def all(self, criteria: CredentialFilter, page: Page) -> Iterator[VenCredential]:
        """Return credentials by the ids of their VENs; the iterator holds a connection until it ends."""
        with snapshot(self._engine) as connection:
            yield from map(_credential, in_blocks(connection, queries.credentials(criteria, page)))

    def one(self, ven_id: str) -> VenCredential:
        """Return the credential of a VEN.

        Raises:
            NotFoundError: there is no such VEN, or it has none.
        """
        with self._engine.connect() as connection:
            return _found(connection, ven_id)

    def make(self, ven_id: str, who: str) -> MadeCredential:
        """Create a password for a VEN without a credential, or with a revoked one.

        Raises:
            NotFoundError: there is no such VEN.
            InvalidRequestError: its id cannot be a part of topics in an access list.
            ConflictError: it has one, or this service has no key to seal it with.
        """
        with self._engine.begin() as connection:
            _lock_ven(connection, ven_id)
            present = queries.credential(ven_id, locked=True).first(connection)
            if present is not None and present.enabled:
                raise ConflictError(f"VEN {ven_id!r} has a credential: rotate it, or revoke it first.")
            return self._set(connection, ven_id, who)

    def rotate(self, ven_id: str, who: str) -> MadeCredential:
        """Replace a VEN's password; its connections end when the broker has applied it.

        Raises:
            NotFoundError: there is no such VEN, or it has no credential that is not revoked.
            ConflictError: this service has no key to seal the password with.
        """
        with self._engine.begin() as connection:
            _lock_ven(connection, ven_id)
            present = queries.credential(ven_id, locked=True).first(connection)
            if present is None or not present.enabled:
                raise NotFoundError(f"VEN {ven_id!r} has no credential that could be rotated: make one.")
            return self._set(connection, ven_id, who)

    def revoke(self, ven_id: str, who: str) -> None:
        """Revoke a VEN's credential, and end its connections. Idempotent.

        Raises:
            NotFoundError: it never had a credential.
        """
        with self._engine.begin() as connection:
            if queries.credential(ven_id, locked=True).first(connection) is None:
                raise NotFoundError(_none(ven_id))
            connection.execute(queries.revoke(ven_id, who, self._clock()))
            connection.execute(queries.NOTIFY_CREDENTIALS)

    def make_missing(self, who: str) -> Iterator[tuple[str, str]]:
        """Create passwords for registered VENs that never had one; yields pairs of id and password, once
        stored.

        Each thousand is a transaction, so an interrupted run can be resumed. Ids that cannot have a password
        are skipped.
        """
        after = ""
        while True:
            with self._engine.begin() as connection:
                ven_ids = list(connection.execute(queries.vens_without(AT_ONCE, after)).scalars())
                if not ven_ids:
                    return
                after = ven_ids[-1]
                passwords = {ven_id: _password() for ven_id in ven_ids if _can_have_one(ven_id)}
                if passwords:
                    self._store(connection, passwords, who)
            yield from passwords.items()

    def _set(self, connection: Connection, ven_id: str, who: str) -> MadeCredential:
        if not _can_have_one(ven_id):
            raise InvalidRequestError(
                f"{ven_id!r} cannot have a credential: its topics would have / + # %c or %u; register it by"
                " another id"
            )
        password = _password()
        self._store(connection, {ven_id: password}, who)
        return MadeCredential(_found(connection, ven_id), ven_id, password)

    def _store(self, connection: Connection, passwords: dict[str, str], who: str) -> None:
        if self._key is None:
            raise ConflictError(f"{NO_KEY}.")
        sealed = [(ven_id, seal(password, ven_id, self._key)) for ven_id, password in passwords.items()]
        connection.execute(queries.set_passwords(sealed, who, self._clock()))
        connection.execute(queries.NOTIFY_CREDENTIALS)


def _password() -> str:
    """Return 256 random bits, in the form that logs redact."""
    return f"{KIND}_{secrets.token_hex(6)}_{secrets.token_hex(32)}"


def _can_have_one(ven_id: str) -> bool:
    return is_topic_level(ven_id) and not SUBSTITUTION.search(ven_id)


def _lock_ven(connection: Connection, ven_id: str) -> None:
    if connection.execute(registry.lock_ven(ven_id)).first() is None:
        raise NotFoundError(no_ven(ven_id))


def _found(connection: Connection, ven_id: str) -> VenCredential:
    row = queries.credential(ven_id).first(connection)
    if row is None:
        raise NotFoundError(_none(ven_id))
    return _credential(row)


def _none(ven_id: str) -> str:
    return f"VEN {ven_id!r} has no credential."


def _credential(row: CredentialRow) -> VenCredential:
    return VenCredential(
        id=row.ven_id,
        status=_status(row),
        created_at=row.created_at,
        changed_at=row.changed_at,
        changed_by=row.changed_by,
        applied_at=row.applied_at,
        attempts=row.attempts,
        error=row.error,
    )


def _status(row: CredentialRow) -> CredentialStatus:
    if row.applied_revision < row.revision:
        return "pending" if row.enabled else "revoking"
    return "active" if row.enabled else "revoked"
