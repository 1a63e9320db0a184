"""Reads commands to VENs with their status, and creates commands that shed a load."""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from msgspec import Raw
from sqlalchemy import Engine

from schemas.api.commands import Command, ShedAccepted, ShedRequest
from schemas.devices.protocols import vens_by_openadr
from serving.commands import queries
from serving.commands.queries import CommandRow
from serving.db.reading import in_blocks, snapshot
from serving.errors import ConflictError, NotFoundError, no_ven
from serving.fleet import queries as fleet
from serving.fleet.latest import LatestReader
from serving.page import Page
from serving.registry import outbox
from serving.registry import queries as registry
from serving.registry.writer import require_row


class CommandReader:
    """Reads commands. Lists are iterators that hold a connection until they end."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def command(self, command_id: str) -> Command:
        """Return one command.

        Raises:
            NotFoundError: there is none with that id.
        """
        with self._engine.connect() as connection:
            row = queries.command(command_id).first(connection)
        if row is None:
            raise NotFoundError(f"There is no command {command_id!r}.")
        return _command(row)

    def commands(self, ven_id: str, page: Page) -> Iterator[Command]:
        """Return the commands to a VEN, newest first.

        Raises:
            NotFoundError: there is no such VEN.
        """
        with snapshot(self._engine) as connection:
            if fleet.registered_ven(ven_id).first(connection) is None:
                raise NotFoundError(no_ven(ven_id))
            yield from map(_command, in_blocks(connection, queries.commands_of_ven(ven_id, page)))


class CommandWriter:
    """Writes commands to the outbox."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime], latest: LatestReader) -> None:
        self._engine = engine
        self._clock = clock
        self._latest = latest

    def shed(self, ven_id: str, load_id: str, request: ShedRequest) -> ShedAccepted:
        """Command a VEN to shed a load for a while; returns once the command is stored.

        Raises:
            NotFoundError: there is no such VEN, or it has no such load.
            ConflictError: the load is disabled, or its VEN takes no commands.
        """
        data = {"loadId": load_id, "reduceKw": request.amount_kw, "durationS": request.duration_s}
        with self._engine.begin() as connection:
            require_row(connection, registry.lock_ven(ven_id), no_ven(ven_id))
            if connection.execute(vens_by_openadr([ven_id])).first() is not None:
                raise ConflictError(
                    f"VEN {ven_id!r} speaks OpenADR and takes no commands: create an event whose"
                    f" targets.venIds are [{ven_id!r}]."
                )
            if not self._latest.load(ven_id, load_id).enabled:
                raise ConflictError(
                    f"Load {load_id!r} of VEN {ven_id!r} is disabled and takes no shed: PATCH it with"
                    ' {"enabled": true}, or wait until its VEN says so.'
                )
            valid_for = timedelta(seconds=request.duration_s)
            command_id = outbox.send(
                connection, "shedLoad", ven_id, data, now=self._clock(), valid_for=valid_for
            )
        return ShedAccepted(ven_id, load_id, request.amount_kw, command_id)


def _command(row: CommandRow) -> Command:
    return Command(
        id=row.command_id,
        ven_id=row.ven_id,
        op=row.op,
        load_id=row.load_id,
        event_id=row.event_id,
        data=Raw(row.data.encode()),
        status=row.status,
        attempts=row.attempts,
        created_at=row.created_at,
        sent_at=row.sent_at,
        acknowledged_at=row.acknowledged_at,
        executed_at=row.executed_at,
        expires_at=row.expires_at,
        acknowledgement=None if row.acknowledgement is None else Raw(row.acknowledgement.encode()),
        error=row.error,
    )
