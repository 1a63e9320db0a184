"""A fill factor of 50 for histories, so that new versions of rows stay on their page.

A bucket changes with every cycle of its lane for as long as its slot lasts. What is stored stays where it is;
new pages have the room.

Revision: 0004, after 0003
"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

HISTORIES = ("ven_history", "load_history")


def upgrade() -> None:
    for table in HISTORIES:
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 50)")


def downgrade() -> None:
    for table in HISTORIES:
        op.execute(f"ALTER TABLE {table} RESET (fillfactor)")
