"""Reports of OpenADR clients on their way to ingest; an index for the retention of stored reports.

Revision: 0033, after 0032
"""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Reports that are stored already stay what they were: documents."""
    op.create_table(
        "report_inbox",
        sa.Column("inbox_id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("client_id", sa.Text(collation="C"), nullable=False),
        sa.Column("vens", sa.JSON(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("inbox_id", name=op.f("pk_report_inbox")),
        postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 10_000},
    )
    op.create_index("ix_openadr_reports_modified_at", "openadr_reports", ["modified_at"])


def downgrade() -> None:
    """Reports that ingest has not taken yet stay as documents only."""
    op.drop_index("ix_openadr_reports_modified_at", table_name="openadr_reports")
    op.drop_table("report_inbox")
