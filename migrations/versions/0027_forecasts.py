"""Forecasts by type of load, and the half hours that they are made of.

Revision: 0027, after 0026
"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

PERCENTILES = ("p10", "p50", "p90")


def _key() -> tuple[sa.Column[str], sa.Column[object]]:
    return (
        sa.Column("load_type", sa.Text(collation="C"), nullable=False),
        sa.Column("half_hour", sa.DateTime(timezone=True), nullable=False),
    )


def _forecast_of(quantity: str) -> list[sa.Column[int] | sa.Column[float]]:
    days = sa.Column(f"{quantity}_days", sa.Integer(), nullable=False)
    return [days, *(sa.Column(f"{quantity}_{name}_kw", sa.Double(), nullable=True) for name in PERCENTILES)]


def _history_of(quantity: str) -> list[sa.Column[int] | sa.Column[float]]:
    return [
        sa.Column(f"{quantity}_kw", sa.Double(), nullable=False),
        sa.Column(f"{quantity}_loads", sa.BigInteger(), nullable=False),
    ]


def upgrade() -> None:
    """The job `forecast` goes through the history that is there: its half hours are marked as stale."""
    op.create_table(
        "load_type_half_hours",
        *_key(),
        *_history_of("used"),
        *_history_of("shed"),
        sa.PrimaryKeyConstraint("load_type", "half_hour", name=op.f("pk_load_type_half_hours")),
    )
    op.create_table(
        "stale_half_hours",
        sa.Column("bucket", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("bucket", name=op.f("pk_stale_half_hours")),
    )
    op.create_table(
        "load_type_forecasts",
        *_key(),
        sa.Column("origin", sa.DateTime(timezone=True), nullable=False),
        *_forecast_of("used"),
        *_forecast_of("shed"),
        sa.PrimaryKeyConstraint("load_type", "half_hour", name=op.f("pk_load_type_forecasts")),
    )
    # The network's energy has a row for each slot in which any VEN reported, and so is quickly read.
    op.execute(
        "INSERT INTO stale_half_hours (bucket)"
        " SELECT DISTINCT date_bin('30 minutes', bucket, 'epoch') FROM network_energy"
        " WHERE bucket > now() - interval '44 days' AND bucket < now() + interval '1 day'"
    )


def downgrade() -> None:
    for table in ("load_type_forecasts", "stale_half_hours", "load_type_half_hours"):
        op.drop_table(table)
