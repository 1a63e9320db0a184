"""What people want of VENs and loads: each wish one transaction, with the command that it leads to."""

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from msgspec import UNSET, structs
from sqlalchemy import Connection, Engine, Select

from schemas.commands import Op, new_command
from schemas.http import VEN_WORDS, LoadUpdate, Place, ShedAccepted, ShedRequest, VenCreate, VenUpdate
from serving.event_rules import Conflict, require_free_path
from serving.queries import commands, fleet, registry
from serving.unknown import Unknown, no_load, no_ven

TOLD_TO_VEN = {"enabled": "enabled", "capacity_kw": "capacityKw", "priority": "priority"}
"""What a VEN is told of a load, by our name and by the contract's."""

WORTH_SETTING = timedelta(days=1)
A_MOMENT = timedelta(microseconds=1)


class Writer:
    """Writes wishes; what they lead to is read with a `Reader`."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def add_ven(self, wish: VenCreate) -> str:
        """Register a VEN, or bring back one that was retired, with its history; answers its id.

        Raises:
            Unfit: nobody could ask for a VEN of that id.
            Conflict: it is registered.
        """
        require_free_path(wish.id, VEN_WORDS)
        now, ven_id = self._clock(), wish.id or str(uuid.uuid4())
        values = {"ven_id": ven_id, "name": wish.name, "registration_id": wish.registration_id}
        with self._engine.begin() as connection:
            added = connection.execute(
                registry.add_ven({**values, **_place(wish.location), "created_at": now})
            )
            if added.first() is None:
                raise Conflict(f"There is a VEN {ven_id!r} already: change it with PATCH.")
            if wish.status is not None:
                _set_status(connection, ven_id, wish.status, now)
            connection.execute(registry.TELL_OF_TOTALS)
        return ven_id

    def change_ven(self, ven_id: str, wish: VenUpdate) -> None:
        """Change what is registered of a VEN; a status is a transition, as if the VEN had said it now.

        Raises:
            Unknown: there is no such VEN.
        """
        said = _said(wish)
        status = said.pop("status", None)
        if "location" in said:
            said |= _place(said.pop("location"))
        with self._engine.begin() as connection:
            _require(connection, registry.hold_ven(ven_id), no_ven(ven_id))
            if said:
                connection.execute(registry.change_ven(ven_id, said))
            if status is not None:
                _set_status(connection, ven_id, status, self._clock())
            connection.execute(registry.TELL_OF_TOTALS)

    def retire_ven(self, ven_id: str) -> None:
        """Take a VEN out of all lists and totals, and its commands back.

        Raises:
            Unknown: there is no such VEN.
        """
        with self._engine.begin() as connection:
            if connection.execute(registry.retire_ven(ven_id, self._clock())).first() is None:
                raise Unknown(no_ven(ven_id))
            connection.execute(commands.withdraw(ven_id, "the VEN was retired"))
            connection.execute(registry.TELL_OF_TOTALS)
            connection.execute(registry.TELL_OF_COMMANDS)

    def change_load(self, ven_id: str, load_id: str, wish: LoadUpdate) -> None:
        """Set what people say of a load, null for the VEN's own word; and tell the VEN.

        Raises:
            Unknown: there is no such VEN, or it has no such load.
        """
        now, said = self._clock(), _said(wish)
        if "type" in said:
            said["load_type"] = said.pop("type")
        with self._engine.begin() as connection:
            _require(connection, registry.hold_ven(ven_id), no_ven(ven_id))
            _require(connection, fleet.known_load(ven_id, load_id).whole(), no_load(ven_id, load_id))
            connection.execute(registry.set_load(ven_id, load_id, said, now))
            told = _setting(connection, ven_id, load_id, said)
            if told:
                data = {"loadId": load_id, **told}
                _send(connection, "setLoad", ven_id, data, now=now, worth=WORTH_SETTING)
            connection.execute(registry.TELL_OF_TOTALS)

    def shed(self, ven_id: str, load_id: str, wish: ShedRequest) -> ShedAccepted:
        """Have a load shed for a while: what is answered is that the command is stored.

        Raises:
            Unknown: there is no such VEN, or it has no such load.
        """
        data = {"loadId": load_id, "reduceKw": wish.amount_kw, "durationS": wish.duration_s}
        with self._engine.begin() as connection:
            _require(connection, registry.hold_ven(ven_id), no_ven(ven_id))
            _require(connection, fleet.known_load(ven_id, load_id).whole(), no_load(ven_id, load_id))
            worth = timedelta(seconds=wish.duration_s)
            command_id = _send(connection, "shedLoad", ven_id, data, now=self._clock(), worth=worth)
        return ShedAccepted(ven_id, load_id, wish.amount_kw, command_id)


def _said(wish: VenUpdate | LoadUpdate) -> dict[str, Any]:
    """What a wish speaks of: null is a word, silence is none."""
    return {name: value for name, value in structs.asdict(wish).items() if value is not UNSET}


def _place(location: Place | None) -> dict[str, float | None]:
    if location is None:
        return {"latitude_deg": None, "longitude_deg": None}
    return {"latitude_deg": location.lat, "longitude_deg": location.lon}


def _require(connection: Connection, query: Select[Any], otherwise: str) -> None:
    if connection.execute(query).first() is None:
        raise Unknown(otherwise)


def _set_status(connection: Connection, ven_id: str, status: str, now: datetime) -> None:
    """A transition in the ledger, dated after all that the VEN has; and at once the latest."""
    connection.execute(registry.HOLD_SNAPSHOT_LANE)
    since = connection.execute(registry.status_since(ven_id)).scalar_one_or_none()
    at = now if since is None else max(now, since + A_MOMENT)
    batch_id = connection.execute(registry.open_batch(now)).scalar_one()
    connection.execute(registry.add_status(ven_id, status, at, now, batch_id))
    connection.execute(registry.queue_batch(batch_id))
    connection.execute(registry.set_status(ven_id, status, at))


def _setting(connection: Connection, ven_id: str, load_id: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """What the VEN is to be told: this, and what it has not answered yet.

    One command says it all: an older one, sent again, would undo a newer one.
    """
    spoken = {told: said[name] for name, told in TOLD_TO_VEN.items() if name in said}
    if not spoken:
        return {}
    earlier = commands.withdraw(ven_id, "replaced by a newer command", *commands.settings_of(load_id))
    merged: dict[str, Any] = {}
    for row in sorted(connection.execute(earlier), key=lambda row: row.created_at):
        merged |= row.data
    merged.pop("loadId", None)
    return {name: value for name, value in {**merged, **spoken}.items() if value is not None}


def _send(
    connection: Connection, op: Op, ven_id: str, data: Mapping[str, Any], *, now: datetime, worth: timedelta
) -> str:
    """Into the outbox; answers the command's id."""
    row = new_command(op, ven_id, data, now=now, expires_at=now + worth)
    connection.execute(commands.add(row))
    connection.execute(registry.TELL_OF_COMMANDS)
    return str(row["command_id"])
