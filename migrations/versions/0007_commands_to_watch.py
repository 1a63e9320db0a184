"""An index of commands that VENs have acknowledged, and that telemetry does not show as executed yet.

Revision: 0007, after 0006
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    is_watched = sa.text("status = 'acknowledged' AND executed_at IS NULL")
    op.create_index("ix_commands_watched", "commands", ["acknowledged_at"], postgresql_where=is_watched)


def downgrade() -> None:
    op.drop_index("ix_commands_watched", "commands")
