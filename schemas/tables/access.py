"""API keys and browsers' sessions, by their digests, and the audit log.

Secrets are never stored, only their digests. Revoked keys stay, so that the log can name them.
"""

import polars as pl
from sqlalchemy import JSON, BigInteger, Column, Identity, Index, Integer, LargeBinary, Table, Text, text

from schemas.db.frame_models import pa
from schemas.tables.metadata import Frame, Utc, instant, metadata, text_key

ROLES = ("viewer", "operator")

api_keys = Table(
    "api_keys",
    metadata,
    text_key("key_id"),
    Column("name", Text, nullable=False),
    Column("role", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    instant("created_at"),
    instant("expires_at", nullable=True),
    instant("revoked_at", nullable=True),
    Index("ix_api_keys_name", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
)

api_sessions = Table(
    "api_sessions",
    metadata,
    text_key("session_id"),
    Column("key_id", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    instant("created_at"),
    instant("expires_at"),
    Index("ix_api_sessions_key_id", "key_id"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("audit_id", BigInteger, Identity(), primary_key=True),
    instant("at"),
    Column("who", Text, nullable=False),
    Column("key_id", Text),
    Column("role", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("request_id", Text, nullable=False),
    Column("client_address", Text),
    Column("body", JSON(none_as_null=True)),
    Column("status", Integer),
    instant("answered_at", nullable=True),
    Index("ix_audit_log_at", "at"),
)


class ApiKeyFrame(Frame):
    """API keys; names are unique among those that are not revoked."""

    key_id: str
    name: str
    role: str = pa.Field(isin=ROLES)
    digest: pl.Binary
    created_at: Utc
    expires_at: Utc = pa.Field(nullable=True)
    revoked_at: Utc = pa.Field(nullable=True)


class ApiSessionFrame(Frame):
    """A browser's session, which may read with the role of a key."""

    session_id: str
    key_id: str
    digest: pl.Binary
    created_at: Utc
    expires_at: Utc


class AuditFrame(Frame):
    """Written before the change; `status` and `answered_at` after it, null if the process died in between."""

    audit_id: int
    at: Utc
    who: str
    key_id: str = pa.Field(nullable=True)
    role: str = pa.Field(isin=ROLES)
    method: str
    path: str
    request_id: str
    client_address: str = pa.Field(nullable=True)
    body: str = pa.Field(nullable=True)
    status: pl.Int32 = pa.Field(nullable=True)
    answered_at: Utc = pa.Field(nullable=True)
