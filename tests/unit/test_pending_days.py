"""Days of pending batches as constants of a prepared statement."""

from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Column, DateTime, MetaData, Table, Text, bindparam, select

from schemas.db.queries import Query
from serving.db.pending import MOST_RANGES, PendingDays, constants_of, within_days_pending
from serving.db.statements import constant_name, text_for

NOON = datetime(2024, 7, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
raw = Table("raw", MetaData(), Column("name", Text), Column("ts", DateTime(timezone=True)))
STATEMENT = select(raw.c.name).where(
    raw.c.name == bindparam("before"), within_days_pending(raw.c.ts), raw.c.name == bindparam("after")
)


def ranges(values: dict[str, datetime]) -> list[tuple[datetime, datetime]]:
    ends = [
        (values[constant_name(f"pending_since_{n}")], values[constant_name(f"pending_until_{n}")])
        for n in range(MOST_RANGES)
    ]
    return list(dict.fromkeys(ends))


def test_days_that_lie_apart_are_ranges_of_their_own() -> None:
    found = ranges(dict(constants_of([date(2020, 1, 1), date(2024, 7, 9), date(2024, 7, 10)])))
    midnight = NOON.replace(hour=0)
    assert found == [
        (datetime(2020, 1, 1, tzinfo=UTC), datetime(2020, 1, 2, tzinfo=UTC)),
        (midnight - DAY, midnight + DAY),
    ]


def test_many_days_are_few_ranges_that_hold_them_all() -> None:
    days = [date(2020, 1, 1) + number * number * DAY for number in range(40)]
    found = ranges(dict(constants_of(days)))
    assert len(found) == MOST_RANGES
    for day in days:
        at = datetime.combine(day, datetime.min.time(), UTC)
        assert any(start <= at < end for start, end in found)


def test_without_days_there_is_a_range_all_the_same() -> None:
    assert len(ranges(dict(constants_of([])))) == 1


def test_constants_stand_in_the_text_once_and_parameters_are_numbered_anew() -> None:
    values = {**constants_of([NOON.date()]), "before": "a", "after": "b"}
    text = text_for(STATEMENT, values)
    assert text.sql.count("raw.ts >= '2024-07-10T00:00:00+00:00'") == 1
    assert text.sql.count("raw.ts < '2024-07-11T00:00:00+00:00'") == 1
    assert text.arguments(values) == ["a", "b"]
    assert "$2" in text.sql
    assert "$3" not in text.sql
    other = text_for(STATEMENT, {**values, **constants_of([NOON.date(), date(2020, 1, 1)])})
    assert other.sql.count(" OR ") == 1, "fillers are the last range again, and stand there once"


def test_days_are_read_anew_when_told_and_after_a_while() -> None:
    now, reads, stored = [NOON], [0], [date(2020, 1, 1)]

    def read(_query: Query[tuple[date]]) -> list[tuple[date]]:
        reads[0] += 1
        return [(day,) for day in stored]

    days = PendingDays(read, lambda: now[0])
    assert len(ranges(dict(days.values()))) == 1
    assert reads == [0], "today is known without asking"
    days.reload()
    assert len(ranges(dict(days.values()))) == 2
    stored.clear()
    now[0] += timedelta(seconds=59)
    assert len(ranges(dict(days.values()))) == 2
    now[0] += timedelta(seconds=2)
    assert len(ranges(dict(days.values()))) == 1
    assert reads == [2]
