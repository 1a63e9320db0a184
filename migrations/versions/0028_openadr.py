"""OpenADR 3.1: programs, events, reports, subscriptions, VENs, resources, clients and signing keys.

Revision: 0028, after 0027
"""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def _id(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(collation="C"), nullable=nullable)


def _texts(name: str) -> sa.Column[list[str]]:
    kind = sa.ARRAY(sa.Text(collation="C"))
    return sa.Column(name, kind, server_default=sa.text("'{}'"), nullable=False)


def _instant(name: str, *, nullable: bool = False) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


OBJECTS = {
    "openadr_programs": (_id("program_name"),),
    "openadr_events": (
        _id("program_id"),
        _instant("ends_at", nullable=True),
        _id("event_id", nullable=True),
        sa.Column("flexibility_kw", sa.Double(), nullable=True),
    ),
    "openadr_reports": (_id("program_id"), _id("event_id"), _id("client_name")),
    "openadr_subscriptions": (_id("program_id", nullable=True), _id("client_name"), _texts("objects")),
    "openadr_vens": (
        _id("ven_name"),
        _id("ven_id"),
        sa.Column("is_registered_here", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    ),
    "openadr_resources": (_id("ven_object_id"), _id("resource_name"), _id("load_id")),
}
INDEXES = (
    ("openadr_programs", "program_name", ("program_name",), True),
    ("openadr_events", "program_id", ("program_id",), False),
    ("openadr_events", "event_id", ("event_id",), True),
    ("openadr_reports", "event_id", ("event_id",), False),
    ("openadr_reports", "client_id", ("client_id",), False),
    ("openadr_subscriptions", "client_id", ("client_id",), False),
    ("openadr_vens", "ven_name", ("ven_name",), True),
    ("openadr_vens", "ven_id", ("ven_id",), True),
    ("openadr_vens", "client_id", ("client_id",), False),
    ("openadr_resources", "name", ("ven_object_id", "resource_name"), True),
    ("openadr_resources", "client_id", ("client_id",), False),
)


def upgrade() -> None:
    _create_clients()
    op.create_table(
        "openadr_signing_keys",
        _id("key_id"),
        sa.Column("secret", sa.LargeBinary(), nullable=False),
        _instant("created_at"),
        _instant("expires_at"),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_openadr_signing_keys")),
    )
    for name, columns in OBJECTS.items():
        op.create_table(
            name,
            _id("object_id"),
            _id("client_id"),
            _texts("targets"),
            sa.Column("body", sa.JSON(), nullable=False),
            _instant("created_at"),
            _instant("modified_at"),
            *columns,
            sa.PrimaryKeyConstraint("object_id", name=op.f(f"pk_{name}")),
        )
    for table, suffix, names, is_unique in INDEXES:
        op.create_index(f"ix_{table}_{suffix}", table, list(names), unique=is_unique)


def _create_clients() -> None:
    op.create_table(
        "openadr_clients",
        _id("client_id"),
        sa.Column("role", sa.Text(), nullable=False),
        _texts("scopes"),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        _instant("created_at"),
        _instant("expires_at", nullable=True),
        _instant("revoked_at", nullable=True),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_openadr_clients")),
    )


def downgrade() -> None:
    """VENs and loads that were enrolled stay; what OpenADR knew of them goes."""
    for name in (*OBJECTS, "openadr_signing_keys", "openadr_clients"):
        op.drop_table(name)
