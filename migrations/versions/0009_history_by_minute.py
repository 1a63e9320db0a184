"""The network's history by minute, computed from that by second, as far as retention has left that.

Revision: 0009, after 0008
"""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("""
        INSERT INTO network_history
        SELECT 60, date_bin('60 s', bucket, 'epoch'), sum(used_power_kw_sum), sum(shed_power_kw_sum),
            sum(samples), sum(used_samples), sum(shed_samples)
        FROM network_history
        WHERE resolution_s = 1
            AND bucket >= coalesce(
                (SELECT date_bin('60 s', since + interval '59.999999 s', 'epoch') FROM horizons
                    WHERE resolution_s = 1),
                '-infinity'
            )
        GROUP BY 2 ORDER BY 2
    """)
    op.execute("""
        INSERT INTO horizons
        SELECT 60, date_bin('60 s', since + interval '59.999999 s', 'epoch') FROM horizons
        WHERE resolution_s = 1
    """)


def downgrade() -> None:
    op.execute("DELETE FROM network_history WHERE resolution_s = 60")
    op.execute("DELETE FROM horizons WHERE resolution_s = 60")
