"""Statuses in lower case and without white space around them, as they are decoded from now on.

Revision: 0013, after 0012
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TABLES = ("ven_statuses", "ven_snapshots", "vens")
TRIMMED = r"lower(regexp_replace(status, '^\s+|\s+$', '', 'g'))"
WORD = f"CASE {TRIMMED} WHEN 'true' THEN 'online' WHEN 'false' THEN 'offline' ELSE {TRIMMED} END"


def upgrade() -> None:
    for table in TABLES:
        op.execute(f"UPDATE {table} SET status = {WORD} WHERE status <> {WORD} AND {TRIMMED} <> ''")


def downgrade() -> None:
    """No change: the former spelling is lost, and older programs read the new one, too."""
