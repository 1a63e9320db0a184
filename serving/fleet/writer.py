"""Changes of VENs and loads, each in one transaction with the command to the VEN that it leads to."""

import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from msgspec import UNSET, Struct, structs
from sqlalchemy import Connection, Engine, Select

from schemas.http import VEN_WORDS, LoadUpdate, Place, VenCreate, VenUpdate
from schemas.instants import MICROSECOND
from serving.errors import ConflictError, NotFoundError, no_load, no_ven
from serving.events.rules import require_free_path
from serving.fleet import outbox
from serving.fleet import queries as fleet
from serving.fleet import registry_queries as registry
from serving.fleet.latest import LatestReader

VEN_FIELDS = ("name", "status", "location", "registration_id", "address")
EMPTY_FORGETS = ("registration_id", "address")
LOAD_FIELDS = ("name", "type", "capacity_kw", "shed_capability_kw", "enabled", "priority")
"""What can be written, and read under the same names."""


class FleetWriter:
    """Writes to the registry; `latest` says what clients see now."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], latest: LatestReader) -> None:
        self._engine = engine
        self._latest = latest
        self._clock = clock

    def add_ven(self, request: VenCreate) -> str:
        """Register a VEN, or bring back one that was retired, with its history; answers its id.

        Raises:
            InvalidRequestError: the path of that id would be another route.
            ConflictError: it is registered.
        """
        require_free_path(request.id, VEN_WORDS)
        now, ven_id = self._clock(), request.id or str(uuid.uuid4())
        values = {
            "ven_id": ven_id,
            "name": request.name,
            "registration_id": request.registration_id or None,
            "address": request.address or None,
        }
        with self._engine.begin() as connection:
            added = connection.execute(
                registry.add_ven({**values, **_place(request.location), "created_at": now})
            )
            if added.first() is None:
                raise ConflictError(f"There is a VEN {ven_id!r} already: change it with PATCH.")
            if request.status is not None:
                _set_status(connection, ven_id, request.status, now)
            connection.execute(registry.NOTIFY_TOTALS)
        return ven_id

    def change_ven(self, ven_id: str, request: VenUpdate) -> None:
        """Change what is registered of a VEN; a status counts as if the VEN had reported it now.

        Raises:
            NotFoundError: there is no such VEN.
        """
        with self._engine.begin() as connection:
            require_row(connection, registry.lock_ven(ven_id), no_ven(ven_id))
            values = changed_fields(request, self._latest.ven(ven_id), VEN_FIELDS)
            status = values.pop("status", None)
            if "location" in values:
                values |= _place(values.pop("location"))
            values |= {name: values[name] or None for name in EMPTY_FORGETS if name in values}
            if values:
                connection.execute(registry.change_ven(ven_id, values))
            if status is not None:
                _set_status(connection, ven_id, status, self._clock())
            connection.execute(registry.NOTIFY_TOTALS)

    def retire_ven(self, ven_id: str) -> None:
        """Take a VEN out of all lists and totals, and withdraw its commands.

        Raises:
            NotFoundError: there is no such VEN.
        """
        with self._engine.begin() as connection:
            if connection.execute(registry.retire_ven(ven_id, self._clock())).first() is None:
                raise NotFoundError(no_ven(ven_id))
            connection.execute(registry.withdraw_commands(ven_id, "the VEN was retired"))
            connection.execute(registry.NOTIFY_TOTALS)
            connection.execute(registry.NOTIFY_COMMANDS)

    def change_load(self, ven_id: str, load_id: str, request: LoadUpdate) -> None:
        """Set values of a load that override those of its VEN (null: no longer), and send them to the VEN.

        Raises:
            NotFoundError: there is no such VEN, or it has no such load.
        """
        now = self._clock()
        with self._engine.begin() as connection:
            require_row(connection, registry.lock_ven(ven_id), no_ven(ven_id))
            require_row(connection, fleet.reported_load(ven_id, load_id).bound(), no_load(ven_id, load_id))
            values = changed_fields(request, self._latest.load(ven_id, load_id), LOAD_FIELDS)
            if "type" in values:
                values["load_type"] = values.pop("type")
            if not values:
                return
            connection.execute(registry.set_load(ven_id, load_id, values, now))
            outbox.send_settings(connection, ven_id, load_id, values, now)
            connection.execute(registry.NOTIFY_TOTALS)


def changed_fields(request: Struct, shown: Struct, names: Iterable[str]) -> dict[str, Any]:
    """The fields of a PATCH that differ from what GET shows; null is a value.

    A client may send back what it got: placeholders and estimates must not become facts by that.
    """
    fields = {name: getattr(request, name) for name in names}
    return {
        name: value
        for name, value in fields.items()
        if value is not UNSET and _plain(value) != _plain(getattr(shown, name))
    }


def _plain(value: Any) -> Any:  # noqa: ANN401 - a field of any type
    return structs.asdict(value) if isinstance(value, Struct) else value


def _place(location: Place | None) -> dict[str, float | None]:
    if location is None:
        return {"latitude_deg": None, "longitude_deg": None}
    return {"latitude_deg": location.lat, "longitude_deg": location.lon}


def require_row(connection: Connection, query: Select[Any], message: str) -> None:
    if connection.execute(query).first() is None:
        raise NotFoundError(message)


def _set_status(connection: Connection, ven_id: str, status: str, now: datetime) -> None:
    """Add a status to the ledger, later than all of the VEN, and make it the latest at once."""
    connection.execute(registry.LOCK_SNAPSHOT_LANE)
    since = connection.execute(registry.status_since(ven_id)).scalar_one_or_none()
    at = now if since is None else max(now, since + MICROSECOND)
    batch_id = connection.execute(registry.open_batch(now)).scalar_one()
    connection.execute(registry.add_status(ven_id, status, at, now, batch_id))
    connection.execute(registry.queue_batch(batch_id))
    connection.execute(registry.set_status(ven_id, status, at))
