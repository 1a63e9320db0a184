"""Credentials of VENs at the broker: the desired state, and the state that the broker has confirmed."""

import polars as pl
from sqlalchemy import Boolean, Column, Index, Integer, Table, Text, text

from schemas.db.frame_models import pa
from schemas.tables.metadata import Frame, Utc, instant, metadata, text_key

ven_credentials = Table(
    "ven_credentials",
    metadata,
    text_key("ven_id"),
    Column("revision", Integer, nullable=False),
    Column("enabled", Boolean, nullable=False),
    Column("sealed_password", Text),
    instant("created_at"),
    instant("changed_at"),
    Column("changed_by", Text, nullable=False),
    Column("applied_revision", Integer, nullable=False, server_default=text("0")),
    instant("applied_at", nullable=True),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    instant("next_attempt_at"),
    Column("error", Text),
    Index(
        "ix_ven_credentials_pending", "next_attempt_at", postgresql_where=text("applied_revision < revision")
    ),
)


class VenCredentialFrame(Frame):
    """`revision`: of the desired state; `applied_revision`: of the state that the broker has confirmed.

    `sealed_password`: a password not yet applied, which only ingest can read; null afterwards. Not `enabled`:
    revoked. `error`: of the last attempt, null after a success.
    """

    ven_id: str
    revision: pl.Int32 = pa.Field(ge=1)
    enabled: bool
    sealed_password: str = pa.Field(nullable=True)
    created_at: Utc
    changed_at: Utc
    changed_by: str
    applied_revision: pl.Int32 = pa.Field(ge=0)
    applied_at: Utc = pa.Field(nullable=True)
    attempts: pl.Int32 = pa.Field(ge=0)
    next_attempt_at: Utc
    error: str = pa.Field(nullable=True)
