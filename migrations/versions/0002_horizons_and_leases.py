"""Retention horizons, leases of jobs, and indexes by the age of rows.

Revision: 0002, after 0001
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BY_AGE = (
    ("ven_load_samples", "ts"),
    ("ven_load_descriptions", "ts"),
    ("ven_statuses", "ts"),
    ("load_history", "bucket"),
)
BRIN: dict[str, Any] = {
    "postgresql_using": "brin",
    "postgresql_with": {"pages_per_range": 32, "autosummarize": True},
}


def upgrade() -> None:
    op.create_table(
        "horizons",
        sa.Column("resolution_s", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("resolution_s", name=op.f("pk_horizons")),
    )
    op.create_table(
        "job_leases",
        sa.Column("job", sa.Text(collation="C"), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("job", name=op.f("pk_job_leases")),
    )
    for table, column in BY_AGE:
        op.create_index(f"ix_{table}_{column}", table, [column], unique=False, **BRIN)
    # A small table with many updates: autovacuum must not wait for a fifth of it to be dead.
    op.execute(
        "ALTER TABLE pending_batches SET"
        " (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000)"
    )


def downgrade() -> None:
    op.execute(
        "ALTER TABLE pending_batches RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold)"
    )
    for table, column in BY_AGE:
        op.drop_index(f"ix_{table}_{column}", table_name=table)
    op.drop_table("job_leases")
    op.drop_table("horizons")
