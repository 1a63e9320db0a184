"""Notifies clients of OpenADR of what jobs change: reports of settlements, and shares of events."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from msgspec import Struct
from sqlalchemy import Connection

from jobs.queries.events import openadr as queries
from jobs.queries.events.openadr import StoredReport
from schemas.openadr_notifications.content import ObjectChange
from schemas.openadr_notifications.parts import ShareChange, parts_in_event
from schemas.openadr_notifications.queueing import queue_notifications
from schemas.openadr_objects import shown, shown_report


class Notifier(Struct, frozen=True):
    """Queues notifications in the transactions of changes; `has_mqtt`: for the broker, too."""

    has_mqtt: bool = False

    def notify_of_reports(
        self, connection: Connection, stored: Sequence[StoredReport], now: datetime
    ) -> None:
        """Notify of reports of one event that were made or replaced."""
        if self._has_listeners(connection, "REPORT"):
            changes = [
                ObjectChange(
                    "CREATE" if row.is_new else "UPDATE",
                    "REPORT",
                    shown_report(row),
                    program_id=row.program_id,
                )
                for row in stored
            ]
            queue_notifications(connection, changes, now, has_mqtt=self.has_mqtt)

    @contextmanager
    def notifying_of_shares(
        self, connection: Connection, event_ids: Sequence[str], now: datetime
    ) -> Iterator[None]:
        """Notify the clients of VENs whose shares of some events are changed meanwhile.

        The events are locked first, and then their objects, as by every change of them: so that no
        notification has an object as it was before the change of somebody else.
        """
        if not self._has_listeners(connection, "EVENT"):
            yield
            return
        connection.execute(queries.lock_events(event_ids))
        rows = queries.lock_objects(event_ids).all(connection)
        before = {row.object_id: parts_in_event(connection, row.object_id) for row in rows}
        yield
        for row in rows:
            event, after = shown(row, "EVENT"), parts_in_event(connection, row.object_id)
            change = ShareChange(event, before[row.object_id], after)
            if change.concerns_anybody:
                changes = [ObjectChange("UPDATE", "EVENT", event, row.targets)]
                queue_notifications(
                    connection, changes, now, has_mqtt=self.has_mqtt, concerns=change.concerns
                )

    def _has_listeners(self, connection: Connection, kind: str) -> bool:
        return self.has_mqtt or bool(connection.execute(queries.has_subscription(kind)).scalar_one())


NO_BROKER = Notifier()
