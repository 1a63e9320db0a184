"""Credentials of VENs at the broker. VENs that have a password already keep it; it is not known here.

Revision: 0032, after 0031
"""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def _instant(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), server_default=sa.text("0"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "ven_credentials",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("sealed_password", sa.Text(), nullable=True),
        _instant("created_at"),
        _instant("changed_at"),
        sa.Column("changed_by", sa.Text(), nullable=False),
        _number("applied_revision"),
        _instant("applied_at", nullable=True),
        _number("attempts"),
        _instant("next_attempt_at"),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("ven_id", name=op.f("pk_ven_credentials")),
    )
    op.create_index(
        "ix_ven_credentials_pending",
        "ven_credentials",
        ["next_attempt_at"],
        postgresql_where=sa.text("applied_revision < revision"),
    )


def downgrade() -> None:
    op.drop_table("ven_credentials")
