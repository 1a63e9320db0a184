"""Commands to VENs, written to the outbox within the transaction of the change that they belong to."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Connection

from schemas.demand_response.commands import Op, new_command
from schemas.devices.protocols import vens_by_openadr
from serving.registry import queries as registry

SETTINGS_OF_VEN = {"enabled": "enabled", "capacity_kw": "capacityKw", "priority": "priority"}
"""Settings of a load that its VEN is sent: our name, and that of the contract."""

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
    """Send a VEN the settings that it must know, with those that it has not acknowledged yet.

    One command carries all of them: if an older one were sent again, it would undo a newer one. A VEN that
    speaks OpenADR is sent nothing; the settings hold for events all the same.
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
    """Withdraw the commands for a load that are not acknowledged; the settings in them, newer ones last."""
    withdraw = registry.withdraw_commands(ven_id, "replaced by a newer command", *registry.sets_load(load_id))
    merged: dict[str, object] = {}
    for _, data in sorted(connection.execute(withdraw), key=lambda row: row[0]):
        merged |= data
    merged.pop("loadId", None)
    return merged
