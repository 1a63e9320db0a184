"""The SQL of API keys, browsers' sessions, and the audit log."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Delete, Insert, Select, Update, delete, insert, or_, select, update
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from schemas.api.access import Role
from schemas.db.channels import KEYS, notify
from schemas.db.queries import Query, Relation, fields_of
from schemas.tables.access import api_keys, api_sessions, audit_log
from serving.page import Page

SESSIONS_PER_KEY = 20
"""Most sessions of one key; opening another ends the oldest."""


class KeyRow(NamedTuple):
    """An API key, valid or not."""

    key_id: str
    name: str
    role: Role
    digest: bytes
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


class SessionRow(NamedTuple):
    """A session of a browser."""

    session_id: str
    key_id: str
    digest: bytes
    expires_at: datetime


class AuditRow(NamedTuple):
    """An entry of the audit log."""

    audit_id: int
    at: datetime
    who: str
    role: Role
    method: str
    path: str
    status: int | None
    request_id: str
    client_address: str | None
    body: object


def live_keys(now: datetime) -> Query[KeyRow]:
    lasts = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)
    return Query(KeyRow, _keys().where(api_keys.c.revoked_at.is_(None), lasts))


def live_sessions(now: datetime) -> Query[SessionRow]:
    sessions = select(*fields_of(SessionRow, api_sessions))
    return Query(SessionRow, sessions.where(api_sessions.c.expires_at > now))


def all_keys() -> Query[KeyRow]:
    return Query(KeyRow, _keys().order_by(api_keys.c.created_at, api_keys.c.key_id))


def _keys() -> Relation:
    return select(*fields_of(KeyRow, api_keys))


def add_key(key: Mapping[str, object]) -> Insert:
    return insert(api_keys).values(**key)


def revoke(name: str, now: datetime) -> ReturningUpdate[str]:
    """Revoke the valid key of a name, if any; returns its id."""
    live = (api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
    return update(api_keys).where(*live).values(revoked_at=now).returning(api_keys.c.key_id)


def notify_keys() -> Select[object]:
    return notify(KEYS)


def add_session(session: Mapping[str, object]) -> Insert:
    return insert(api_sessions).values(**session)


def end_surplus_sessions(key_id: str, now: datetime) -> Delete:
    """Delete expired sessions, and the oldest ones of a key, to make room for one more."""
    newest = api_sessions.c.created_at.desc()
    surplus = (
        select(api_sessions.c.session_id)
        .where(api_sessions.c.key_id == key_id)
        .order_by(newest)
        .offset(SESSIONS_PER_KEY - 1)
    )
    return delete(api_sessions).where(
        or_(api_sessions.c.expires_at <= now, api_sessions.c.session_id.in_(surplus))
    )


def end_session(session_id: str, digest: bytes) -> Delete:
    return delete(api_sessions).where(
        api_sessions.c.session_id == session_id, api_sessions.c.digest == digest
    )


def begin_audit(entry: Mapping[str, object]) -> ReturningInsert[int]:
    return insert(audit_log).values(**entry).returning(audit_log.c.audit_id)


def finish_audit(audit_id: int, status: int, now: datetime) -> Update:
    return update(audit_log).where(audit_log.c.audit_id == audit_id).values(status=status, answered_at=now)


def audit_entries(page: Page) -> Query[AuditRow]:
    """Select entries, newest first; `after` an entry come older ones."""
    newest = select(*fields_of(AuditRow, audit_log)).order_by(audit_log.c.audit_id.desc()).limit(page.limit)
    older = newest if page.after is None else newest.where(audit_log.c.audit_id < int(page.after))
    return Query(AuditRow, older)
