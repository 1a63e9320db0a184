"""OpenADR clients and the keys that sign their tokens."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Delete, Insert, Select, Update, delete, insert, select, update

from schemas.db import locks
from schemas.db.queries import Query, fields_of
from schemas.tables.openadr import openadr_clients, openadr_signing_keys

CLIENT = openadr_clients.c
KEY = openadr_signing_keys.c
LOCK_SIGNING_KEYS = locks.exclusive(locks.SIGNING_KEY)


def add_client(values: Mapping[str, object]) -> Insert:
    return insert(openadr_clients).values(**values)


class ClientRow(NamedTuple):
    """A client, also one that is revoked."""

    client_id: str
    role: str
    scopes: list[str]
    digest: bytes
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def all_clients() -> Query[ClientRow]:
    rows = select(*fields_of(ClientRow, openadr_clients))
    return Query(ClientRow, rows.order_by(CLIENT.created_at, CLIENT.client_id))


def client(client_id: str) -> Query[ClientRow]:
    rows = select(*fields_of(ClientRow, openadr_clients))
    return Query(ClientRow, rows.where(CLIENT.client_id == client_id))


def revoke_client(client_id: str, now: datetime) -> Update:
    """Returns the id, if there is a client of that id that is not revoked."""
    live = (CLIENT.client_id == client_id, CLIENT.revoked_at.is_(None))
    return update(openadr_clients).where(*live).values(revoked_at=now).returning(CLIENT.client_id)


def revoked_since(since: datetime) -> Select[str]:
    """Ids of clients revoked after a time: their older tokens have expired."""
    return select(CLIENT.client_id).where(CLIENT.revoked_at > since)


class SigningKeyRow(NamedTuple):
    """A key that signs tokens."""

    key_id: str
    secret: bytes
    created_at: datetime
    expires_at: datetime


def signing_keys(now: datetime) -> Query[SigningKeyRow]:
    """Keys that tokens may still be signed with, the newest first."""
    keys = select(*fields_of(SigningKeyRow, openadr_signing_keys)).where(KEY.expires_at > now)
    return Query(SigningKeyRow, keys.order_by(KEY.created_at.desc(), KEY.key_id))


def add_signing_key(values: Mapping[str, object]) -> Insert:
    return insert(openadr_signing_keys).values(**values)


def forget_signing_keys(now: datetime) -> Delete:
    return delete(openadr_signing_keys).where(KEY.expires_at <= now)
