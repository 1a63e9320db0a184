"""Queries of one VEN, built once: SQLAlchemy takes longer to build them than PostgreSQL to answer."""

from collections.abc import Callable
from functools import cache
from typing import Any

from sqlalchemy import Connection, Result, Select, bindparam

from serving.queries import fleet, latest
from serving.queries.latest import Unread
from serving.windows import Page

VEN_ID: Any = bindparam("ven_id")
LOAD_ID: Any = bindparam("load_id")
FIRST_TS: Any = bindparam("first_ts")
LAST_TS: Any = bindparam("last_ts")
NEWS = {False: Unread(0, None, None), True: Unread(1, FIRST_TS, LAST_TS)}

OfVen = Callable[[Unread], Select[Any]]


def current_ven(news: Unread) -> Select[Any]:
    return fleet.current_ven(VEN_ID, news)


def loads_of_ven(news: Unread) -> Select[Any]:
    return fleet.loads_of_ven(VEN_ID, news, Page())


def load(news: Unread) -> Select[Any]:
    return fleet.load(VEN_ID, LOAD_ID, news)


def unread(connection: Connection) -> Unread:
    return Unread(*connection.execute(_unread()).one())


def ask(connection: Connection, query: OfVen, news: Unread, **ids: str) -> Result[Any]:
    """The rows of one of the queries above."""
    given: dict[str, Any] = {**ids, "first_ts": news.first_ts, "last_ts": news.last_ts}
    return connection.execute(_built(query, bool(news.batches)), given)


@cache
def _built(query: OfVen, has_news: bool) -> Select[Any]:  # noqa: FBT001 - a key
    return query(NEWS[has_news])


@cache
def _unread() -> Select[Any]:
    return latest.unread()
