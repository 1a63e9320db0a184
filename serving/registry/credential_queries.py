"""The SQL of VENs' credentials: the outbox that ingest applies to the broker."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Select, Update, select, update
from sqlalchemy.dialects.postgresql import Insert, insert

from schemas.db.channels import CREDENTIALS, notify
from schemas.db.queries import Query, Relation, fields_of
from schemas.tables.credentials import ven_credentials
from schemas.tables.registry import vens
from serving.page import CredentialFilter, Page

_C = ven_credentials.c
NOTIFY_CREDENTIALS = notify(CREDENTIALS)


class CredentialRow(NamedTuple):
    """A credential without its password."""

    ven_id: str
    revision: int
    enabled: bool
    created_at: datetime
    changed_at: datetime
    changed_by: str
    applied_revision: int
    applied_at: datetime | None
    attempts: int
    error: str | None


def _credentials() -> Relation:
    return select(*fields_of(CredentialRow, ven_credentials))


def credential(ven_id: str, *, locked: bool = False) -> Query[CredentialRow]:
    row = _credentials().where(_C.ven_id == ven_id)
    return Query(CredentialRow, row.with_for_update() if locked else row)


def credentials(criteria: CredentialFilter, page: Page) -> Query[CredentialRow]:
    """Select credentials by the ids of their VENs."""
    rows = _credentials().order_by(_C.ven_id).limit(page.limit)
    is_pending = _C.applied_revision < _C.revision
    if criteria.is_pending is not None:
        rows = rows.where(is_pending if criteria.is_pending else ~is_pending)
    if criteria.is_enabled is not None:
        rows = rows.where(_C.enabled == criteria.is_enabled)
    return Query(CredentialRow, rows if page.after is None else rows.where(_C.ven_id > page.after))


def vens_without(limit: int, after: str) -> Select[str]:
    """Select registered VENs that never had a credential, by id."""
    has_one = select(_C.ven_id).where(_C.ven_id == vens.c.ven_id).exists()
    rows = select(vens.c.ven_id).where(vens.c.retired_at.is_(None), ~has_one, vens.c.ven_id > after)
    return rows.order_by(vens.c.ven_id).limit(limit)


def set_passwords(sealed: Sequence[tuple[str, str]], who: str, now: datetime) -> Insert:
    """Upsert new passwords of VENs, by id, as the next revisions of their credentials."""
    rows = [
        {
            "ven_id": ven_id,
            "revision": 1,
            "enabled": True,
            "sealed_password": password,
            "created_at": now,
            "changed_at": now,
            "changed_by": who,
            "next_attempt_at": now,
        }
        for ven_id, password in sealed
    ]
    statement = insert(ven_credentials).values(rows)
    names = ("enabled", "sealed_password", "changed_at", "changed_by", "next_attempt_at")
    updates = {name: statement.excluded[name] for name in names}
    again = {"revision": _C.revision + 1, "attempts": 0, "error": None}
    return statement.on_conflict_do_update(index_elements=["ven_id"], set_={**updates, **again})


def revoke(ven_id: str, who: str, now: datetime) -> Update:
    """Revoke a VEN's credential; a password not yet applied is erased."""
    return (
        update(ven_credentials)
        .where(_C.ven_id == ven_id, _C.enabled)
        .values(
            revision=_C.revision + 1,
            enabled=False,
            sealed_password=None,
            changed_at=now,
            changed_by=who,
            next_attempt_at=now,
            attempts=0,
            error=None,
        )
    )
