"""Demand response: participations, progress and settlements of events, and the outbox of commands.

Before this revision no program wrote to these tables.

Revision: 0003, after 0002
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

OPEN = sa.text("status IN ('pending', 'sent')")


def _instant(name: str, *, nullable: bool = True) -> "sa.Column[Any]":
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def upgrade() -> None:
    _events()
    _commands()
    op.create_table(
        "event_progress",
        sa.Column("event_id", sa.Text(collation="C"), nullable=False),
        sa.Column("current_reduction_kw", sa.Double(), nullable=True),
        sa.Column("delivered_kwh", sa.Double(), nullable=True),
        sa.Column("vens_responding", sa.Integer(), nullable=False),
        sa.Column("avg_response_ms", sa.Double(), nullable=True),
        sa.Column("efficiency_percent", sa.Double(), nullable=True),
        _instant("refreshed_at", nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_event_progress")),
    )
    _settlements("event_settlements")
    _settlements("ven_settlements", "ven_id")


def _events() -> None:
    op.add_column("events", sa.Column("ven_ids", sa.JSON(), nullable=True))
    op.add_column("events", _instant("notify_at"))
    op.add_column("events", _instant("started_at"))
    op.add_column("events", _instant("ended_at"))
    op.execute("UPDATE events SET notify_at = start_time")
    op.alter_column("events", "notify_at", nullable=False)
    op.add_column(
        "event_participations", sa.Column("available_kw", sa.Double(), nullable=False, server_default="0")
    )
    op.alter_column("event_participations", "available_kw", server_default=None)
    op.add_column("event_participations", sa.Column("command_id", sa.Text(), nullable=True))


def _commands() -> None:
    op.add_column("commands", _instant("next_attempt_at"))
    op.execute("UPDATE commands SET next_attempt_at = created_at")
    op.alter_column("commands", "next_attempt_at", nullable=False)
    op.add_column("commands", sa.Column("leased_by", sa.Text(), nullable=True))
    op.add_column("commands", _instant("leased_until"))
    op.add_column("commands", _instant("executed_at"))
    op.add_column("commands", sa.Column("error", sa.Text(), nullable=True))
    op.drop_index("ix_commands_pending", "commands")
    op.create_index("ix_commands_command_id", "commands", ["command_id"])
    op.create_index("ix_commands_created_at", "commands", ["ven_id", "created_at"])
    of_events = sa.text("event_id IS NOT NULL")
    op.create_index("ix_commands_event_id", "commands", ["event_id"], postgresql_where=of_events)
    op.create_index("ix_commands_open", "commands", ["next_attempt_at"], postgresql_where=OPEN)


def _settlements(table: str, *keys: str) -> None:
    op.create_table(
        table,
        *(sa.Column(key, sa.Text(collation="C"), nullable=False) for key in keys),
        sa.Column("event_id", sa.Text(collation="C"), nullable=False),
        sa.Column("revision", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("baseline", sa.Text(collation="C"), nullable=False),
        sa.Column("requested_kw", sa.Double(), nullable=False),
        sa.Column("baseline_kw", sa.Double(), nullable=True),
        sa.Column("actual_kw", sa.Double(), nullable=True),
        sa.Column("delivered_kw", sa.Double(), nullable=True),
        sa.Column("delivered_kwh", sa.Double(), nullable=True),
        sa.Column("performance_percent", sa.Double(), nullable=True),
        sa.Column("coverage_percent", sa.Double(), nullable=False),
        sa.Column("rrmse_percent", sa.Double(), nullable=True),
        sa.Column("days_used", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        _instant("settled_at", nullable=False),
        sa.PrimaryKeyConstraint(*keys, "event_id", "revision", "baseline", name=op.f(f"pk_{table}")),
    )


def downgrade() -> None:
    for table in ("ven_settlements", "event_settlements", "event_progress"):
        op.drop_table(table)
    for index in ("open", "event_id", "created_at", "command_id"):
        op.drop_index(f"ix_commands_{index}", "commands")
    op.create_index("ix_commands_pending", "commands", ["created_at"], postgresql_where=OPEN)
    for column in ("error", "executed_at", "leased_until", "leased_by", "next_attempt_at"):
        op.drop_column("commands", column)
    for column in ("command_id", "available_kw"):
        op.drop_column("event_participations", column)
    for column in ("ended_at", "started_at", "notify_at", "ven_ids"):
        op.drop_column("events", column)
