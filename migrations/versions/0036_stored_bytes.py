"""The size of a table by a function of the database, which `python -m jobs distribute` can replace.

Revision: 0036, after 0034
"""

from alembic import op

revision = "0036"
down_revision = "0034"
branch_labels = None
depends_on = None

STORED_BYTES = """
CREATE FUNCTION stored_bytes(id regclass) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT pg_catalog.pg_total_relation_size(id)
$$
"""


def upgrade() -> None:
    op.execute(STORED_BYTES)


def downgrade() -> None:
    op.execute("DROP FUNCTION stored_bytes(regclass)")
