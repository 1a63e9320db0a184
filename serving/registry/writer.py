"""Changes VENs and loads, each in one transaction with the resulting command to the VEN."""

import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from msgspec import UNSET, Struct, UnsetType, structs
from sqlalchemy import Connection, Engine

from schemas.api.fields import VEN_WORDS
from schemas.api.vens import LoadUpdate, Place, Ven, VenCreate, VenUpdate
from schemas.db import ledger
from schemas.db.queries import Relation
from schemas.devices.load_values import remove_load
from schemas.devices.statuses import status_word
from schemas.times.instants import EPOCH, MICROSECOND, parse_iso
from schemas.times.slots import forget_widths, half_hour, width_changes
from serving.errors import ConflictError, InvalidRequestError, NotFoundError, no_load, no_ven
from serving.events.rules import require_free_path
from serving.fleet.latest import LatestReader
from serving.fleet.shapes import place_label
from serving.registry import credential_queries as credentials
from serving.registry import outbox
from serving.registry import queries as registry

VEN_FIELDS = ("name", "status", "location", "registration_id", "address", "region", "tags")
EMPTY_FORGETS = ("registration_id", "address", "region")
PEOPLE = "people"
RETIREMENT = "retirement"
"""The author of a credential's revocation when its VEN is retired."""

LOAD_FIELDS = ("name", "type", "capacity_kw", "shed_capability_kw", "enabled", "priority")
"""Fields that are written and read by the same names."""


class FleetWriter:
    """Writes to the registry; `latest` reads what clients see."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], latest: LatestReader) -> None:
        self._engine = engine
        self._latest = latest
        self._clock = clock

    def add_ven(self, request: VenCreate) -> str:
        """Register a VEN, or restore a retired one with its history; returns its id.

        Raises:
            InvalidRequestError: the path of its id is another route, or its slots begin in the future.
            ConflictError: it is registered already.
        """
        require_free_path(request.id, VEN_WORDS)
        status = None if request.status is None else _word(request.status)
        now, ven_id = self._clock(), request.id or str(uuid.uuid4())
        values = {
            "ven_id": ven_id,
            "name": request.name,
            "registration_id": request.registration_id or None,
            "address": request.address or None,
            "region": request.region or None,
            "tags": _sorted(request.tags),
        }
        with self._engine.begin() as connection:
            added = connection.execute(
                registry.add_ven({**values, **_place(request.location), "created_at": now})
            )
            if added.first() is None:
                raise ConflictError(f"There is a VEN {ven_id!r} already: change it with PATCH.")
            if status is not None:
                _set_status(connection, ven_id, status, now)
            if request.slot_minutes is not None:
                since = slot_start(request.slot_minutes_since, now) or EPOCH
                _set_width(connection, ven_id, request.slot_minutes, since, now)
            connection.execute(registry.NOTIFY_TOTALS)
        return ven_id

    def change_ven(self, ven_id: str, request: VenUpdate) -> None:
        """Change the registered values of a VEN; a status counts as if the VEN had reported it now.

        Raises:
            InvalidRequestError: a slot width would apply from a future time, or a label would change.
            NotFoundError: there is no such VEN.
        """
        if request.status is not UNSET:
            request = structs.replace(request, status=_word(request.status))
        with self._engine.begin() as connection:
            require_row(connection, registry.lock_ven(ven_id), no_ven(ven_id))
            shown, now = self._latest.ven(ven_id), self._clock()
            if isinstance(request.location, str):
                _require_label(request.location, shown)
                request = structs.replace(request, location=UNSET)
            values = changed_fields(request, shown, VEN_FIELDS)
            status = values.pop("status", None)
            if "location" in values:
                values |= _place(values.pop("location"))
            values |= {name: values[name] or None for name in EMPTY_FORGETS if name in values}
            values |= {"tags": _sorted(values["tags"])} if "tags" in values else {}
            if values:
                connection.execute(registry.change_ven(ven_id, values))
            if status is not None:
                _set_status(connection, ven_id, status, now)
            _change_width(connection, request, shown, now)
            connection.execute(registry.NOTIFY_TOTALS)

    def retire_ven(self, ven_id: str) -> None:
        """Retire a VEN: remove it from lists and totals, withdraw its commands, and revoke its credential.

        Raises:
            NotFoundError: there is no such VEN.
        """
        with self._engine.begin() as connection:
            if connection.execute(registry.retire_ven(ven_id, self._clock())).first() is None:
                raise NotFoundError(no_ven(ven_id))
            connection.execute(registry.withdraw_commands(ven_id, "the VEN was retired"))
            connection.execute(credentials.revoke(ven_id, RETIREMENT, self._clock()))
            connection.execute(credentials.NOTIFY_CREDENTIALS)
            connection.execute(registry.NOTIFY_TOTALS)
            connection.execute(registry.NOTIFY_COMMANDS)

    def change_load(self, ven_id: str, load_id: str, request: LoadUpdate) -> None:
        """Set values of a load that override those of its VEN (null: remove them), and send them to the VEN.

        Raises:
            NotFoundError: there is no such VEN, or it has no such load.
        """
        now = self._clock()
        with self._engine.begin() as connection:
            require_row(connection, registry.lock_ven(ven_id), no_ven(ven_id))
            values = changed_fields(request, self._latest.load(ven_id, load_id), LOAD_FIELDS)
            if "type" in values:
                values["load_type"] = values.pop("type")
            if not values:
                return
            connection.execute(registry.set_load(ven_id, load_id, values, now))
            outbox.send_settings(connection, ven_id, load_id, values, now)
            connection.execute(registry.NOTIFY_TOTALS)

    def remove_load(self, ven_id: str, load_id: str) -> None:
        """Remove a load from latest values and totals, until a sample with a later device time.

        Raises:
            NotFoundError: there is no such VEN, or it has no such load.
        """
        with self._engine.begin() as connection:
            require_row(connection, registry.lock_ven(ven_id), no_ven(ven_id))
            self._latest.load(ven_id, load_id)
            up_to = self._latest.newest_ts(ven_id)
            if up_to is None:
                raise NotFoundError(no_load(ven_id, load_id))
            connection.execute(remove_load(ven_id, load_id, up_to, self._clock()))
            connection.execute(registry.NOTIFY_TOTALS)


def changed_fields(request: Struct, shown: Struct, names: Iterable[str]) -> dict[str, Any]:
    """Return the fields of a PATCH that differ from GET; null is a value.

    A client may send back what it got: placeholders and estimates must not become stored values.
    """
    fields = {name: getattr(request, name) for name in names}
    return {
        name: value
        for name, value in fields.items()
        if value is not UNSET and _plain(value) != _plain(getattr(shown, name))
    }


def _plain(value: object) -> object:
    return structs.asdict(value) if isinstance(value, Struct) else value


def _sorted(tags: Iterable[str] | None) -> list[str]:
    return sorted(set(tags or ()))


def _word(status: str) -> str:
    """Return a status word in the spelling of VENs' messages.

    Raises:
        InvalidRequestError: it is not a word.
    """
    try:
        return status_word(status)
    except ValueError as error:
        raise InvalidRequestError(f"status {error}.") from None


def _require_label(label: str, shown: Ven) -> None:
    """Refuse a label of a location that differs from the one in the list of VENs.

    Raises:
        InvalidRequestError: it differs.
    """
    place = (shown.location.lat, shown.location.lon) if shown.is_located else (None, None)
    if label != place_label(*place):
        raise InvalidRequestError('location must be degrees, such as {"lat": 52.52, "lon": 13.405}')


def _place(location: Place | None) -> dict[str, float | None]:
    if location is None:
        return {"latitude_deg": None, "longitude_deg": None}
    return {"latitude_deg": location.lat, "longitude_deg": location.lon}


def require_row(connection: Connection, query: Relation, message: str) -> None:
    if connection.execute(query).first() is None:
        raise NotFoundError(message)


def _change_width(connection: Connection, request: VenUpdate, shown: Ven, now: datetime) -> None:
    """Change the width of a VEN's slots, or its start; null removes the width set by people."""
    if request.slot_minutes is None:
        for statement in forget_widths(shown.id, PEOPLE):
            connection.execute(statement)
        return
    minutes = shown.slot_minutes if request.slot_minutes is UNSET else request.slot_minutes
    since = slot_start(request.slot_minutes_since, now)
    if minutes != shown.slot_minutes or since not in {None, shown.slot_minutes_since}:
        _set_width(connection, shown.id, minutes, since or half_hour(now), now)


def _set_width(connection: Connection, ven_id: str, minutes: int, since: datetime, now: datetime) -> None:
    for statement in width_changes(ven_id, since, minutes * 60, PEOPLE, now):
        connection.execute(statement)


def slot_start(text: str | UnsetType | None, now: datetime) -> datetime | None:
    """Return the half-hour from which a slot width applies; None if none is given.

    Raises:
        InvalidRequestError: it is in the future, or not a time.
    """
    if not text:
        return None
    try:
        since = parse_iso(text)
    except ValueError as error:
        raise InvalidRequestError(f"slotMinutesSince: {error}") from error
    if since > now:
        raise InvalidRequestError("slotMinutesSince must not be ahead: leave it out for from now on")
    return max(half_hour(since), EPOCH)


def _set_status(connection: Connection, ven_id: str, status: str, now: datetime) -> None:
    """Add a status to the ledger, later than all others of the VEN, and make it the latest at once."""
    connection.execute(registry.LOCK_SNAPSHOT_LANE)
    since = connection.execute(registry.status_since(ven_id)).scalar_one_or_none()
    at = now if since is None else max(now, since + MICROSECOND)
    batch_id = connection.execute(ledger.open_status_batch(registry.WORKER, 1, now)).scalar_one()
    connection.execute(registry.add_status(ven_id, status, at, now, batch_id))
    connection.execute(ledger.queue_batch(batch_id, except_lane="snapshot"))
    connection.execute(registry.set_status(ven_id, status, at))
