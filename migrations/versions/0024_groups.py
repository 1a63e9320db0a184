"""Groups of VENs, regions and tags of VENs, and events that aim at groups and types of load.

Revision: 0024, after 0023
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

LISTS = ("ven_ids", "load_types", "regions", "tags")
TARGETS = ("group_ids", "load_types")
STREAMED = (
    "'ven_ids', e.ven_ids,",
    "'ven_ids', e.ven_ids, 'group_ids', e.group_ids, 'load_types', e.load_types,",
)
FUNCTION = "SELECT pg_get_functiondef('note_event'::regproc)"
TRIGGER = (
    "SELECT pg_get_triggerdef(oid) FROM pg_trigger"
    " WHERE tgname = 'note_event_update' AND tgrelid = 'events'::regclass"
)


def _replaced(definition: str, changes: dict[str, str]) -> str:
    """A definition with some texts replaced; those of other migrations stay as they are."""
    [[text]] = op.get_bind().exec_driver_sql(definition).all()
    for old, new in changes.items():
        if text.count(old) != 1:
            raise RuntimeError(f"expected one {old!r} in {text}")
        text = text.replace(old, new)
    return str(text)


def _run(statement: str) -> None:
    op.get_bind().execute(sa.text(statement.replace(":", r"\:")))


def _differ(*names: str) -> str:
    """As PostgreSQL writes the comparison of two rows: column by column."""
    return " OR ".join(f"((new.{name})::text IS DISTINCT FROM (old.{name})::text)" for name in names)


def _note_changes(function: dict[str, str], trigger: dict[str, str]) -> None:
    _run(_replaced(FUNCTION, function))
    changed = _replaced(TRIGGER, trigger)
    op.execute("DROP TRIGGER note_event_update ON events")
    _run(changed)


def _list(name: str) -> sa.Column[list[str]]:
    kind = sa.Text(collation="C")
    return sa.Column(name, sa.ARRAY(kind), server_default=sa.text("'{}'"), nullable=False)


def upgrade() -> None:
    op.create_table(
        "groups",
        sa.Column("group_id", sa.Text(collation="C"), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        *(_list(name) for name in LISTS),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("group_id", name=op.f("pk_groups")),
    )
    op.add_column("vens", sa.Column("region", sa.Text(collation="C"), nullable=True))
    op.add_column("vens", _list("tags"))
    for name in TARGETS:
        op.add_column("events", sa.Column(name, sa.JSON(), nullable=True))
    op.add_column("event_participations", sa.Column("told_load_types", sa.JSON(), nullable=True))
    _note_changes(dict([STREAMED]), {_differ("ven_ids"): _differ("ven_ids", *TARGETS)})


def downgrade() -> None:
    """Events that aim at groups or types of load and are not over would ask everybody: they are cancelled."""
    op.execute(
        "UPDATE events SET status = 'cancelled', ended_at = coalesce(ended_at, now())"
        " WHERE status IN ('scheduled', 'active') AND (group_ids IS NOT NULL OR load_types IS NOT NULL)"
    )
    _note_changes({STREAMED[1]: STREAMED[0]}, {_differ("ven_ids", *TARGETS): _differ("ven_ids")})
    op.drop_column("event_participations", "told_load_types")
    for name in reversed(TARGETS):
        op.drop_column("events", name)
    for name in ("tags", "region"):
        op.drop_column("vens", name)
    op.drop_table("groups")
