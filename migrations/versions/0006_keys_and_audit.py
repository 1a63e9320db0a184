"""API keys, browsers' sessions, and the audit log.

Revision: 0006, after 0005
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def _instant(name: str, *, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _text(name: str, *, nullable: bool = False) -> "sa.Column[Any]":
    return sa.Column(name, sa.Text(), nullable=nullable)


def upgrade() -> None:
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.Text(collation="C"), nullable=False),
        _text("name"),
        _text("role"),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        _instant("created_at"),
        _instant("expires_at", nullable=True),
        _instant("revoked_at", nullable=True),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_api_keys")),
    )
    live = sa.text("revoked_at IS NULL")
    op.create_index("ix_api_keys_name", "api_keys", ["name"], unique=True, postgresql_where=live)
    op.create_table(
        "api_sessions",
        sa.Column("session_id", sa.Text(collation="C"), nullable=False),
        _text("key_id"),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        _instant("created_at"),
        _instant("expires_at"),
        sa.PrimaryKeyConstraint("session_id", name=op.f("pk_api_sessions")),
    )
    op.create_index("ix_api_sessions_key_id", "api_sessions", ["key_id"])
    _audit_log()


def _audit_log() -> None:
    op.create_table(
        "audit_log",
        sa.Column("audit_id", sa.BigInteger(), sa.Identity(), nullable=False),
        _instant("at"),
        _text("who"),
        _text("key_id", nullable=True),
        _text("role"),
        _text("method"),
        _text("path"),
        _text("request_id"),
        _text("client_address", nullable=True),
        sa.Column("body", sa.JSON(), nullable=True),
        sa.Column("status", sa.Integer(), nullable=True),
        _instant("answered_at", nullable=True),
        sa.PrimaryKeyConstraint("audit_id", name=op.f("pk_audit_log")),
    )
    op.create_index("ix_audit_log_at", "audit_log", ["at"])


def downgrade() -> None:
    for table in ("audit_log", "api_sessions", "api_keys"):
        op.drop_table(table)
