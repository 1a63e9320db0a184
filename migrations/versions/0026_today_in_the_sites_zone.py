"""The energy of today is that of a day of the site's zone: its end is kept instead of its UTC date.

Revision: 0026, after 0023
"""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("network_snapshot", sa.Column("energy_until", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE network_snapshot SET energy_until = (energy_day + 1)::timestamp AT TIME ZONE 'UTC'")
    op.alter_column("network_snapshot", "energy_until", nullable=False)
    op.drop_column("network_snapshot", "energy_day")


def downgrade() -> None:
    op.add_column("network_snapshot", sa.Column("energy_day", sa.Date(), nullable=True))
    op.execute("UPDATE network_snapshot SET energy_day = (refreshed_at AT TIME ZONE 'UTC')::date")
    # A day of another zone is none of UTC's: unknown until the jobs have looked again.
    op.execute(
        "UPDATE network_snapshot SET energy_today_kwh = NULL"
        " WHERE energy_until <> (energy_day + 1)::timestamp AT TIME ZONE 'UTC'"
    )
    op.alter_column("network_snapshot", "energy_day", nullable=False)
    op.drop_column("network_snapshot", "energy_until")
