"""Objects of OpenADR: listed, read, made, replaced and deleted, each noun by its own rules."""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import ClassVar, Generic, Protocol, TypeVar

from msgspec import Struct
from psycopg.errors import UniqueViolation
from sqlalchemy import ColumnElement, Connection, Engine, Table
from sqlalchemy.exc import IntegrityError

from schemas.db.channels import openadr_changed
from schemas.openadr import ObjectType, Operation, Request, plain
from schemas.openadr_objects import Object, shown
from serving.db.reading import in_blocks, snapshot
from serving.errors import ConflictError, NotFoundError
from serving.openadr import queries
from serving.openadr.auth.access import Client
from serving.openadr.event_times import require_times
from serving.openadr.page import ObjectPage

Taken = TypeVar("Taken", bound=Request)
Taken_contra = TypeVar("Taken_contra", bound=Request, contravariant=True)
RowOfNoun = TypeVar("RowOfNoun", bound=queries.ObjectRow)
Conditions = Sequence[ColumnElement[bool]]
Listener = Callable[[Connection, Operation, ObjectType, Object, Sequence[str]], None]
"""Called in the transaction of each change, with the whole object and its targets: what a notifier needs.

Of a deletion it is called before anything is deleted.
"""


def ignore(
    _connection: Connection,
    _operation: Operation,
    _type: ObjectType,
    _object: Object,
    _targets: Sequence[str],
) -> None:
    """A listener that does nothing."""


class Values(Struct, frozen=True):
    """What is stored of an object: its owner, its targets, and the columns that it is sought by."""

    client_id: str
    targets: Sequence[str]
    columns: Mapping[str, object]


class ObjectStore(Protocol[Taken_contra]):
    """What clients do with the objects of one noun."""

    def listed(
        self, client: Client, conditions: Conditions, targets: Sequence[str] | None, page: ObjectPage
    ) -> Iterator[Object]: ...
    def one(self, client: Client, object_id: str) -> Object: ...
    def create(self, client: Client, request: Taken_contra) -> Object: ...
    def replace(self, client: Client, object_id: str, request: Taken_contra) -> Object: ...
    def delete(self, client: Client, object_id: str) -> Object: ...


class Context(Struct, frozen=True):
    """One change: its transaction, its client and its time."""

    connection: Connection
    client: Client
    now: datetime


class Objects(ABC, Generic[Taken, RowOfNoun]):
    """One noun. A change, and all that follows from it, is one transaction."""

    object_type: ClassVar[ObjectType]
    table: ClassVar[Table]
    row: type[RowOfNoun]
    noun: ClassVar[str]

    def __init__(self, engine: Engine, clock: Callable[[], datetime], listener: Listener = ignore) -> None:
        self._engine = engine
        self._clock = clock
        self._listener = listener

    def now(self) -> datetime:
        return self._clock()

    # Reading

    def listed(
        self, client: Client, conditions: Conditions, targets: Sequence[str] | None, page: ObjectPage
    ) -> Iterator[Object]:
        """Objects that the client may read; the iterator holds a connection to its end.

        Args:
            client: whose they are shown to.
            conditions: that they meet.
            targets: of which they have one; None for any.
            page: which part of them.
        """
        with snapshot(self._engine) as connection:
            shown = self._shown_targets(connection, client, targets)
            readable = self._readable(client, targets, shown)
            query = queries.listed(self.table, self.row, [*conditions, *readable], page)
            for row in in_blocks(connection, query):
                yield self._shown(row, client, shown)

    def one(self, client: Client, object_id: str) -> Object:
        """An object that the client may read.

        Raises:
            NotFoundError: there is none, or it may not know of it.
        """
        with self._engine.connect() as connection:
            shown = self._shown_targets(connection, client, None)
            readable = self._readable_by_id(client, shown)
            row = queries.one(self.table, self.row, object_id, readable).first(connection)
        if row is None:
            raise self._none(object_id)
        return self._shown(row, client, shown)

    # Changing

    def create(self, client: Client, request: Taken) -> Object:
        """Make an object.

        Raises:
            InvalidRequestError, ForbiddenError: the client may not make one like this.
            NotFoundError, ConflictError: what it refers to is not there, or its name is taken.
        """
        require_times(request)
        with self._changing(client) as context:
            values = self._values(context, request, None)
            object_id = uuid.uuid4().hex
            row = {
                "object_id": object_id,
                "body": self._body(request),
                "created_at": context.now,
                **_columns(values, context.now),
            }
            context.connection.execute(queries.add(self.table, row))
            stored = self._stored(context, object_id)
            self._after_change(context, None, stored, request)
            return self._done(context, "CREATE", object_id)

    def replace(self, client: Client, object_id: str, request: Taken) -> Object:
        """Replace what a client said of an object; its id, its maker and when it was made stay.

        Raises:
            As `create`.
        """
        require_times(request)
        with self._changing(client) as context:
            before = self._locked(context, object_id)
            values = self._values(context, request, before)
            changes = {"body": self._body(request), **_columns(values, context.now)}
            context.connection.execute(queries.change(self.table, object_id, changes))
            self._after_change(context, before, self._stored(context, object_id), request)
            return self._done(context, "UPDATE", object_id)

    def delete(self, client: Client, object_id: str) -> Object:
        """Delete an object and what belongs to it; returns it as it was.

        Raises:
            NotFoundError: there is none, or the client may not know of it.
        """
        with self._changing(client) as context:
            row = self._locked(context, object_id)
            return self.delete_row(context, row)

    def delete_row(self, context: Context, row: RowOfNoun) -> Object:
        """Delete one that is locked, in a transaction of somebody else."""
        self._listener(context.connection, "DELETE", self.object_type, self.whole(row), row.targets)
        self._before_deletion(context, row)
        context.connection.execute(queries.remove(self.table, row.object_id))
        return self._shown(row, context.client, None)

    def whole(self, row: RowOfNoun) -> Object:
        """An object with all that is known of it."""
        return shown(row, self.object_type)

    @contextmanager
    def _changing(self, client: Client) -> Iterator[Context]:
        try:
            with self._engine.begin() as connection:
                yield Context(connection, client, self._clock())
        except IntegrityError as error:
            if not isinstance(error.orig, UniqueViolation):
                raise
            raise ConflictError(
                f"There is a {self.noun} of that name already: choose another name, or change that one."
            ) from None

    def _done(self, context: Context, operation: Operation, object_id: str) -> Object:
        row = self._stored(context, object_id)
        self._listener(context.connection, operation, self.object_type, self.whole(row), row.targets)
        return self._shown(row, context.client, None)

    def _stored(self, context: Context, object_id: str) -> RowOfNoun:
        return queries.one(self.table, self.row, object_id).one(context.connection)

    def _locked(self, context: Context, object_id: str) -> RowOfNoun:
        writable = self._writable(context.client)
        row = queries.locked(self.table, self.row, object_id, writable).first(context.connection)
        if row is None:
            raise self._none(object_id)
        return row

    def _none(self, object_id: str) -> NotFoundError:
        return NotFoundError(f"There is no {self.noun} {object_id!r}.")

    # The rules of a noun

    @abstractmethod
    def _values(self, context: Context, request: Taken, before: RowOfNoun | None) -> Values:
        """What is to be stored; refuses what the client may not store."""

    @abstractmethod
    def _readable(
        self, client: Client, requested: Sequence[str] | None, shown: Sequence[str] | None
    ) -> Conditions:
        """What a client may read in a list, of what it has requested."""

    @abstractmethod
    def _readable_by_id(self, client: Client, shown: Sequence[str] | None) -> Conditions:
        """What a client may read by its id."""

    def _writable(self, _client: Client) -> Conditions:
        return ()

    def _shown_targets(
        self, _connection: Connection, _client: Client, _requested: Sequence[str] | None
    ) -> Sequence[str] | None:
        """The targets that the client may see; None for all."""
        return None

    def _body(self, request: Taken) -> Object:
        return plain(request)

    def _shown(self, row: RowOfNoun, _client: Client, _targets: Sequence[str] | None) -> Object:
        return self.whole(row)

    def _after_change(
        self, context: Context, before: RowOfNoun | None, row: RowOfNoun, request: Taken
    ) -> None:
        """What follows from an object that was made or replaced."""

    def _before_deletion(self, context: Context, row: RowOfNoun) -> None:
        """What goes with an object."""


class TargetedObjects(Objects[Taken, RowOfNoun]):
    """Programs and events: written by business logic, read by VENs whose targets they have.

    A VEN reads those without targets; of the others, in a list those that have one of the targets that it
    names and was granted, and by id those that have one that it was granted. It sees no other targets.
    """

    def _readable(
        self, client: Client, requested: Sequence[str] | None, shown: Sequence[str] | None
    ) -> Conditions:
        if client.reads_all:
            return [] if requested is None else [queries.has_target(self.table, requested)]
        if requested is None:
            return [queries.is_untargeted(self.table)]
        return [queries.has_target(self.table, shown or ())]

    def _readable_by_id(self, client: Client, shown: Sequence[str] | None) -> Conditions:
        if client.reads_all:
            return []
        return [queries.is_untargeted(self.table) | queries.has_target(self.table, shown or ())]

    def _shown_targets(
        self, connection: Connection, client: Client, requested: Sequence[str] | None
    ) -> Sequence[str] | None:
        if client.reads_all:
            return None
        granted = connection.execute(queries.granted_targets(client.client_id)).scalars().all()
        return [each for each in granted if requested is None or each in requested]

    def _shown(self, row: RowOfNoun, client: Client, targets: Sequence[str] | None) -> Object:
        return with_shown_targets(super()._shown(row, client, targets), targets)


class OwnedObjects(Objects[Taken, RowOfNoun]):
    """What belongs to one client: business logic reads all of them, a VEN its own."""

    def _readable(
        self, client: Client, requested: Sequence[str] | None, _shown: Sequence[str] | None
    ) -> Conditions:
        having = [] if requested is None else [queries.has_target(self.table, requested)]
        return [*self._own(client, reads=True), *having]

    def _readable_by_id(self, client: Client, _shown: Sequence[str] | None) -> Conditions:
        return self._own(client, reads=True)

    def _writable(self, client: Client) -> Conditions:
        return self._own(client, reads=False)

    def _own(self, client: Client, *, reads: bool) -> Conditions:
        sees_all = client.reads_all if reads else client.is_business_logic
        return [] if sees_all else [self.table.c.client_id == client.client_id]

    def whole(self, row: RowOfNoun) -> Object:
        return {**super().whole(row), "clientID": row.client_id}

    def _notify_former_owner(self, context: Context, before: RowOfNoun) -> None:
        """What an object grants its client ends for that client when it becomes another's."""
        context.connection.execute(openadr_changed("client", before.client_id))


def with_shown_targets(whole: Object, targets: Collection[str] | None) -> Object:
    """An object with those of its targets that a client may see; None: all."""
    if targets is None or not whole.get("targets"):
        return whole
    return {**whole, "targets": [each for each in whole["targets"] if each in targets]}


def _columns(values: Values, now: datetime) -> dict[str, object]:
    return {
        "client_id": values.client_id,
        "targets": sorted(set(values.targets)),
        "modified_at": now,
        **values.columns,
    }
