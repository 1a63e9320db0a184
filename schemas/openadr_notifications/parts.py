"""The parts of VENs in an event: what each client sees of it, and which read it since they have one."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from sqlalchemy import Connection

from schemas.openadr_notifications import queries
from schemas.openadr_notifications.queries import PartRow
from schemas.openadr_objects import Object
from schemas.openadr_shares import Share, with_own_share

ClientAndVen = tuple[str, str]


class EventParts(Struct, frozen=True):
    """Shares of an event by client, and the VENs that were notified of it; none where it asks for no power.

    Of an event that is over, clients see the whole.
    """

    shares_kw: Mapping[str, float]
    vens: frozenset[ClientAndVen]
    other: Share | None
    """Of clients without a part."""

    def of(self, client_id: str) -> Share | None:
        if self.other is None:
            return None
        return Share(self.shares_kw.get(client_id, 0.0), self.other.of_all_kw, self.other.flexibility_kw)

    @property
    def clients(self) -> frozenset[str]:
        """Those that may read the event since a VEN of theirs was notified of it."""
        return frozenset(client_id for client_id, _ in self.vens)


NO_PARTS = EventParts({}, frozenset(), None)


def parts_in_event(connection: Connection, object_id: str, *, even_if_over: bool = False) -> EventParts:
    """Read the parts in an event; `even_if_over`: with the shares that an event that is over had."""
    rows = queries.parts_in_event(object_id).all(connection)
    if not rows:
        return NO_PARTS
    first, shares_kw = rows[0], defaultdict[str, float](float)
    for row in rows:
        if row.client_id is not None and row.share_kw is not None:
            shares_kw[row.client_id] += row.share_kw
    vens = frozenset(_notified_vens(rows))
    other = None if first.is_over and not even_if_over else Share(0.0, first.of_all_kw, first.flexibility_kw)
    return EventParts(shares_kw, vens, other)


def _notified_vens(rows: Iterable[PartRow]) -> Iterator[ClientAndVen]:
    for row in rows:
        if row.notified_at is not None and row.client_id is not None and row.ven_object_id is not None:
            yield row.client_id, row.ven_object_id


class ShareChange:
    """Whether a client sees another share of an event than before."""

    def __init__(self, event: Object, before: EventParts, after: EventParts) -> None:
        self._event = event
        self._before = before
        self._after = after
        self._known: dict[tuple[Share | None, Share | None], bool] = {}

    def concerns(self, client_id: str) -> bool:
        both = self._before.of(client_id), self._after.of(client_id)
        if both not in self._known:
            first, second = (with_own_share(self._event, share) for share in both)
            self._known[both] = first != second
        return self._known[both]

    @property
    def concerns_anybody(self) -> bool:
        clients = {*self._before.shares_kw, *self._after.shares_kw, ""}
        return any(self.concerns(client_id) for client_id in clients)
