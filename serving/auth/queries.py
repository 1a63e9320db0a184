"""API keys, browsers' sessions, and the audit log."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Delete, Insert, Select, Update, delete, insert, or_, select, update

from schemas.db.channels import KEYS, notify
from schemas.tables.access import api_keys, api_sessions, audit_log
from serving.page import Page

SESSIONS_PER_KEY = 20
"""Sessions that one key has at once; opening another ends the oldest."""


def live_keys(now: datetime) -> Select[Any]:
    lasts = or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > now)
    return select(api_keys).where(api_keys.c.revoked_at.is_(None), lasts)


def live_sessions(now: datetime) -> Select[Any]:
    return select(api_sessions).where(api_sessions.c.expires_at > now)


def all_keys() -> Select[Any]:
    return select(api_keys).order_by(api_keys.c.created_at, api_keys.c.key_id)


def add_key(key: Mapping[str, Any]) -> Insert:
    return insert(api_keys).values(**key)


def revoke(name: str, now: datetime) -> Update:
    """Returns the key's id, if there is a key of that name that is not revoked."""
    live = (api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
    return update(api_keys).where(*live).values(revoked_at=now).returning(api_keys.c.key_id)


def notify_keys() -> Select[Any]:
    return notify(KEYS)


def add_session(session: Mapping[str, Any]) -> Insert:
    return insert(api_sessions).values(**session)


def end_surplus_sessions(key_id: str, now: datetime) -> Delete:
    """Delete expired sessions, and the oldest of a key, so that it may have one more."""
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


def begin_audit(entry: Mapping[str, Any]) -> Insert:
    return insert(audit_log).values(**entry).returning(audit_log.c.audit_id)


def finish_audit(audit_id: int, status: int, now: datetime) -> Update:
    return update(audit_log).where(audit_log.c.audit_id == audit_id).values(status=status, answered_at=now)


def audit_entries(page: Page) -> Select[Any]:
    """The newest first; `after` an entry come older ones."""
    query = select(audit_log).order_by(audit_log.c.audit_id.desc()).limit(page.limit)
    return query if page.after is None else query.where(audit_log.c.audit_id < int(page.after))
