"""Since when the broker may keep a command for its VEN, and how often connections ended at it.

Revision: 0014, after 0013
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("commands", sa.Column("queued_since", sa.DateTime(timezone=True), nullable=True))
    op.add_column("commands", sa.Column("interruptions", sa.Integer(), nullable=False, server_default="0"))
    # Attempts before this revision had no expiry: any of them may still be queued for its VEN.
    op.execute("UPDATE commands SET queued_since = sent_at WHERE status = 'sent'")


def downgrade() -> None:
    op.drop_column("commands", "interruptions")
    op.drop_column("commands", "queued_since")
