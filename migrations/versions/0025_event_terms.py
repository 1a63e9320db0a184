"""Events that ask for more, in intervals, with a random start, a staggered return and limits; abilities.

Revision: 0025, after 0023
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

NUMBERS = ("randomize_start_s", "stagger_return_s")
LIMITS = ("import_limit_kw", "export_limit_kw")
STREAMED_BEFORE = "'lead_time_s', e.lead_time_s,"
STREAMED_NOW = (
    "'lead_time_s', e.lead_time_s, 'direction', e.direction, 'intervals', e.intervals,"
    " 'randomize_start_s', e.randomize_start_s, 'stagger_return_s', e.stagger_return_s,"
    " 'import_limit_kw', e.import_limit_kw, 'export_limit_kw', e.export_limit_kw,"
)
STREAMED = (STREAMED_BEFORE, STREAMED_NOW)
FUNCTION = "SELECT pg_get_functiondef('note_event'::regproc)"
TRIGGER = (
    "SELECT pg_get_triggerdef(oid) FROM pg_trigger"
    " WHERE tgname = 'note_event_update' AND tgrelid = 'events'::regclass"
)


def _differ(*columns: str) -> str:
    """As PostgreSQL writes the comparison of two rows: column by column."""
    return " OR ".join(f"(new.{column} IS DISTINCT FROM old.{column})" for column in columns)


COMPARED = (
    _differ("lead_time_s"),
    _differ("lead_time_s", "direction", *NUMBERS, *LIMITS)
    + " OR ((new.intervals)::text IS DISTINCT FROM (old.intervals)::text)",
)


def _replaced(definition: str, old: str, new: str) -> str:
    """A definition with one text replaced; those of other migrations stay as they are."""
    [[text]] = op.get_bind().exec_driver_sql(definition).all()
    if text.count(old) != 1:
        raise RuntimeError(f"expected one {old!r} in {text}")
    return str(text.replace(old, new))


def _run(statement: str) -> None:
    op.get_bind().execute(sa.text(statement.replace(":", r"\:")))


def _note_changes(before: int, after: int) -> None:
    _run(_replaced(FUNCTION, STREAMED[before], STREAMED[after]))
    changed = _replaced(TRIGGER, COMPARED[before], COMPARED[after])
    op.execute("DROP TRIGGER note_event_update ON events")
    _run(changed)


def upgrade() -> None:
    op.create_table(
        "ven_abilities",
        sa.Column("ven_id", sa.Text(collation="C"), nullable=False),
        sa.Column("understands", sa.JSON(), nullable=False),
        sa.Column("said_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("ven_id", name=op.f("pk_ven_abilities")),
    )
    direction = sa.Column("direction", sa.Text(), server_default=sa.text("'reduce'"), nullable=False)
    op.add_column("events", direction)
    op.add_column("events", sa.Column("intervals", sa.JSON(), nullable=True))
    for name in NUMBERS:
        op.add_column("events", sa.Column(name, sa.Double(), server_default=sa.text("0"), nullable=False))
    for name in LIMITS:
        op.add_column("events", sa.Column(name, sa.Double(), nullable=True))
    revision_column = sa.Column("terms_revision", sa.Integer(), server_default=sa.text("0"), nullable=False)
    op.add_column("events", revision_column)
    op.add_column("event_participations", sa.Column("told_terms_revision", sa.Integer(), nullable=True))
    _note_changes(0, 1)


def downgrade() -> None:
    """Events that ask for more and are not over would ask for less: they are cancelled."""
    op.execute(
        "UPDATE events SET status = 'cancelled', ended_at = coalesce(ended_at, now())"
        " WHERE status IN ('scheduled', 'active') AND direction = 'increase'"
    )
    _note_changes(1, 0)
    op.drop_column("event_participations", "told_terms_revision")
    for name in ("terms_revision", *LIMITS, *NUMBERS, "intervals", "direction"):
        op.drop_column("events", name)
    op.drop_table("ven_abilities")
