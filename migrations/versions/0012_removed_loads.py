"""Loads removed by people: latest values up to this device time do not count.

Revision: 0012, after 0010
"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("loads", sa.Column("removed_ts", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("loads", "removed_ts")
