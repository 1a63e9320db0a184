"""The SQL that changes VENs and loads, and the outbox of commands that these changes cause."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import ColumnElement, Select, Update, or_, select, update
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from schemas.db import locks
from schemas.db.channels import COMMANDS, TOTALS, notify
from schemas.tables.events import OPEN_COMMANDS, commands
from schemas.tables.raw import ven_statuses
from schemas.tables.registry import loads, vens
from schemas.tables.snapshots import ven_snapshots

WORKER = "people"
"""The worker of the ledger's batches with statuses set by people."""

NOTIFY_TOTALS = notify(TOTALS)
NOTIFY_COMMANDS = notify(COMMANDS)


def add_ven(values: Mapping[str, object]) -> ReturningInsert[str]:
    """Register a VEN, or restore a retired one; returns no row if it is registered."""
    statement = insert(vens).values(**values)
    updates = {name: statement.excluded[name] for name in values if name not in {"ven_id", "created_at"}}
    return statement.on_conflict_do_update(
        index_elements=["ven_id"], set_={**updates, "retired_at": None}, where=vens.c.retired_at.is_not(None)
    ).returning(vens.c.ven_id)


def change_ven(ven_id: str, values: Mapping[str, object]) -> Update:
    return update(vens).where(vens.c.ven_id == ven_id).values(**values)


def lock_ven(ven_id: str) -> Select[str]:
    """Lock a registered VEN to the end of the transaction; no row if there is none."""
    return select(vens.c.ven_id).where(vens.c.ven_id == ven_id, vens.c.retired_at.is_(None)).with_for_update()


def retire_ven(ven_id: str, now: datetime) -> ReturningUpdate[str]:
    statement = update(vens).where(vens.c.ven_id == ven_id, vens.c.retired_at.is_(None))
    return statement.values(retired_at=now).returning(vens.c.ven_id)


def set_load(ven_id: str, load_id: str, values: Mapping[str, object], now: datetime) -> Insert:
    """Upsert the settings of a load; other settings stay as they are."""
    statement = insert(loads).values(ven_id=ven_id, load_id=load_id, updated_at=now, **values)
    updates = {name: statement.excluded[name] for name in (*values, "updated_at")}
    return statement.on_conflict_do_update(index_elements=["ven_id", "load_id"], set_=updates)


LOCK_SNAPSHOT_LANE = locks.shared(locks.lane("snapshot"))
"""The shared lock of the lane's workers; a rebuild takes it exclusively."""


def status_since(ven_id: str) -> Select[datetime | None]:
    """Select the time of a VEN's latest status."""
    return select(ven_snapshots.c.status_ts).where(ven_snapshots.c.ven_id == ven_id)


def add_status(ven_id: str, status: str, at: datetime, now: datetime, batch_id: int) -> Insert:
    return insert(ven_statuses).values(
        ven_id=ven_id,
        ts=at,
        status=status,
        details={"reason": "set by people"},
        received_at=now,
        batch_id=batch_id,
    )


def set_status(ven_id: str, status: str, at: datetime) -> Insert:
    """Upsert the latest status, unless a later one is stored."""
    statement = insert(ven_snapshots).values(ven_id=ven_id, status=status, status_ts=at)
    new, since = statement.excluded, ven_snapshots.c.status_ts
    return statement.on_conflict_do_update(
        index_elements=["ven_id"],
        set_={"status": new.status, "status_ts": new.status_ts},
        where=or_(since.is_(None), since < new.status_ts),
    )


def add_command(row: Mapping[str, object]) -> Insert:
    return insert(commands).values(**row)


def withdraw_commands(
    ven_id: str, reason: str, *conditions: ColumnElement[bool]
) -> ReturningUpdate[datetime, Mapping[str, object]]:
    """Expire unacknowledged commands; returns when they were created, and their data."""
    return (
        update(commands)
        .where(commands.c.ven_id == ven_id, commands.c.status.in_(OPEN_COMMANDS), *conditions)
        .values(status="expired", error=reason)
        .returning(commands.c.created_at, commands.c.data)
    )


def sets_load(load_id: str) -> tuple[ColumnElement[bool], ...]:
    """The conditions for commands that change the settings of a load."""
    return commands.c.op == "setLoad", commands.c.load_id == load_id
