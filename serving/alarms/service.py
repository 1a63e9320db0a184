"""Lists and acknowledges alarms, and reads their conditions."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime

from sqlalchemy import Connection, Engine

from schemas.alarms import KINDS
from schemas.api.alarms import Alarm, AlarmCondition
from serving.alarms import queries
from serving.alarms.shapes import alarm, condition
from serving.db.reading import in_blocks, snapshot
from serving.errors import NotFoundError
from serving.page import AlarmFilter, Page


class Alarms:
    """The tables `alarms` and `alarm_conditions`, which the jobs write."""

    def __init__(self, engine: Engine, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._clock = clock

    def all(self, criteria: AlarmFilter, page: Page) -> Iterator[Alarm]:
        """Return alarms, newest first; the iterator holds a connection until it ends."""
        with snapshot(self._engine) as connection:
            yield from map(alarm, in_blocks(connection, queries.list_alarms(criteria, page)))

    def one(self, alarm_id: str) -> Alarm:
        """Return one alarm.

        Raises:
            NotFoundError: there is none with that id.
        """
        with self._engine.connect() as connection:
            return _alarm(connection, alarm_id)

    def acknowledge(self, alarm_id: str, who: str) -> Alarm:
        """Acknowledge an alarm; the first acknowledgement stays.

        Raises:
            NotFoundError: there is none with that id.
        """
        with self._engine.begin() as connection:
            _alarm(connection, alarm_id)
            connection.execute(queries.acknowledge(int(alarm_id), who, self._clock()))
            return _alarm(connection, alarm_id)

    def conditions(self) -> list[AlarmCondition]:
        with self._engine.connect() as connection:
            rows = queries.conditions().all(connection)
        return [condition(row) for row in rows if row.kind in KINDS]


def _alarm(connection: Connection, alarm_id: str) -> Alarm:
    is_number = re.fullmatch("[0-9]{1,18}", alarm_id)
    row = queries.one_alarm(int(alarm_id)).first(connection) if is_number else None
    if row is None:
        raise NotFoundError(f"There is no alarm {alarm_id!r}.")
    return alarm(row)
