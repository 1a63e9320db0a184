"""Writes commands to the outbox, within the transaction of the change that causes them."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection

from schemas.demand_response.commands import Op, new_command
from schemas.devices.protocols import vens_by_openadr
from serving.registry import queries as registry

SETTINGS_OF_VEN = {"enabled": "enabled", "capacity_kw": "capacityKw", "priority": "priority"}
"""Settings of a load that are sent to its VEN: our name, and that of the contract."""

SETTINGS_VALID_FOR = timedelta(days=1)


def send(
    connection: Connection,
    op: Op,
    ven_id: str,
    data: Mapping[str, object],
    *,
    now: datetime,
    valid_for: timedelta,
) -> str:
    """Add a command to the outbox; returns its id."""
    row = new_command(op, ven_id, data, now=now, expires_at=now + valid_for)
    connection.execute(registry.add_command(row))
    connection.execute(registry.NOTIFY_COMMANDS)
    return str(row["command_id"])


def send_settings(
    connection: Connection, ven_id: str, load_id: str, values: Mapping[str, object], now: datetime
) -> None:
    """Send a load's settings to its VEN, with those that it has not acknowledged yet.

    One command has all of them: a retry of an older one would undo a newer one. An OpenADR VEN gets no
    command; the settings still apply to events.
    """
    if connection.execute(vens_by_openadr([ven_id])).first() is not None:
        return
    new = {sent: values[name] for name, sent in SETTINGS_OF_VEN.items() if name in values}
    if not new:
        return
    merged = {**_withdrawn_settings(connection, ven_id, load_id), **new}
    settings = {name: value for name, value in merged.items() if value is not None}
    if settings:
        data = {"loadId": load_id, **settings}
        send(connection, "setLoad", ven_id, data, now=now, valid_for=SETTINGS_VALID_FOR)


def _withdrawn_settings(connection: Connection, ven_id: str, load_id: str) -> dict[str, object]:
    """Withdraw unacknowledged commands for a load; returns their settings, newer ones last."""
    withdraw = registry.withdraw_commands(ven_id, "replaced by a newer command", *registry.sets_load(load_id))
    merged: dict[str, object] = {}
    for _, data in sorted(connection.execute(withdraw), key=lambda row: row[0]):
        merged |= data
    merged.pop("loadId", None)
    return merged
