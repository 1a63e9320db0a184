"""When a VEN's report first named the event of its participation; an index of active participations.

Revision: 0008, after 0007
"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("event_participations", sa.Column("named_at", sa.DateTime(timezone=True), nullable=True))
    is_live = sa.text("status IN ('planned', 'notified', 'acknowledged', 'started')")
    op.create_index(
        "ix_event_participations_live", "event_participations", ["event_id"], postgresql_where=is_live
    )


def downgrade() -> None:
    op.drop_index("ix_event_participations_live", "event_participations")
    op.drop_column("event_participations", "named_at")
