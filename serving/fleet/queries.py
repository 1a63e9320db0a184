"""The SQL of the latest values of the network, of VENs and of their loads."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import NamedTuple

from msgspec import Struct
from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    BindParameter,
    ColumnElement,
    FromClause,
    Select,
    Subquery,
    Text,
    and_,
    any_,
    bindparam,
    case,
    extract,
    func,
    literal,
    null,
    or_,
    select,
    true,
)

from schemas.db.queries import Query, Relation, fields_of
from schemas.demand_response.groups import members_of, one_of, vens_with_loads_of
from schemas.devices.load_values import (
    capacity_kw,
    effective,
    is_enabled,
    is_gone,
    shed_capability_kw,
    with_settings,
)
from schemas.devices.statuses import UNAVAILABLE
from schemas.tables.events import ENDED_EVENTS, commands, event_progress, events
from schemas.tables.raw import ven_load_descriptions, ven_load_samples
from schemas.tables.registry import vens
from schemas.tables.snapshots import load_snapshots, load_type_rollups, network_snapshot, ven_snapshots
from schemas.times.slots import latest_widths
from serving.db.statements import LOAD_ID, VEN_ID
from serving.fleet.latest_queries import (
    is_complete,
    latest_of_loads,
    latest_of_ven,
    new_of_load,
    newest_ts_of_loads,
    newest_ts_of_ven,
)
from serving.page import Page

UNKNOWN_STATUS = "unknown"
REPORTED_EVENT = events.alias("reported_event")
RECENT_ANSWERS = 5
"""The number of last acknowledged commands that determine a VEN's response time."""


class LoadRow(NamedTuple):
    """A row of a query of loads."""

    ven_id: str
    load_id: str
    load_type: str | None
    name: str | None
    capacity_kw: float
    shed_capability_kw: float
    used_power_kw: float | None
    is_shedding: bool
    is_enabled: bool
    priority: int | None


class VenRow(NamedTuple):
    """A row of `current_vens`."""

    ven_id: str
    name: str
    status: str
    latitude_deg: float | None
    longitude_deg: float | None
    address: str | None
    registration_id: str | None
    created_at: datetime
    received_at: datetime | None
    used_power_kw: float | None
    shed_power_kw: float | None
    event_id: str | None
    slot_since: datetime | None
    slot_width_s: int | None
    slot_source: str | None
    region: str | None
    tags: list[str]


class VenSummaryRow(NamedTuple):
    """A row of `ven_summaries`."""

    ven_id: str
    name: str
    status: str
    latitude_deg: float | None
    longitude_deg: float | None
    address: str | None
    received_at: datetime | None
    used_power_kw: float | None
    controllable_power_kw: float
    response_ms: Decimal | None


class NetworkRow(NamedTuple):
    """The totals of the network."""

    ven_count: int
    online_vens: int
    reporting_vens: int
    controllable_power_kw: float
    potential_load_reduction_kw: float
    household_usage_kw: float
    current_load_reduction_kw: float
    energy_day: date
    energy_today_kwh: float | None
    efficiency_percent: float | None


class LoadTypeRow(NamedTuple):
    """The totals of a load type."""

    load_type: str
    total_capacity_kw: float
    total_shed_capability_kw: float
    current_usage_kw: float


ENTRIES = (ven_load_samples, ven_load_descriptions)
AFTER: BindParameter[str] = bindparam("after")
MOST: BindParameter[int] = bindparam("most", type_=BigInteger)


def network() -> Query[NetworkRow]:
    """Select the network's totals; no row before the jobs have run for the first time.

    With `efficiency_percent`: the current reduction of the running events over the requested one.
    """
    progress = event_progress.c
    delivered = 100 * func.sum(progress.current_reduction_kw) / func.sum(events.c.requested_reduction_kw)
    efficiency = (
        select(delivered)
        .select_from(events)
        .join(event_progress, progress.event_id == events.c.event_id)
        .where(events.c.status == "active", progress.current_reduction_kw.is_not(None))
        .scalar_subquery()
    )
    totals = (network_snapshot.c[name] for name in NetworkRow._fields if name in network_snapshot.c)
    return Query(NetworkRow, select(*totals, efficiency.label("efficiency_percent")))


def refreshed_at() -> Select[datetime]:
    return select(network_snapshot.c.refreshed_at)


def load_types() -> Query[LoadTypeRow]:
    totals = select(*fields_of(LoadTypeRow, load_type_rollups))
    return Query(LoadTypeRow, totals.order_by(load_type_rollups.c.load_type))


def registered_ven(ven_id: str) -> Query[tuple[str]]:
    return Query(tuple, _registered_ven(), {"ven_id": ven_id})


@cache
def _registered_ven() -> Select[str]:
    return select(vens.c.ven_id).where(vens.c.ven_id == VEN_ID, vens.c.retired_at.is_(None))


def reported_load(ven_id: str, load_id: str) -> Query[tuple[bool]]:
    """Select a row if the load was ever reported: in the snapshot, or in pending raw rows.

    It needs the days of pending batches among its values.
    """
    return Query(tuple, _reported_load(), {"ven_id": ven_id, "load_id": load_id})


def load_in_snapshot(ven_id: str, load_id: str) -> Query[tuple[bool]]:
    """Select a row if the load is in the snapshot."""
    return Query(tuple, _load_in_snapshot(), {"ven_id": ven_id, "load_id": load_id})


@cache
def _load_in_snapshot() -> Select[bool]:
    return select(true()).where(_stored_load().exists())


@cache
def _reported_load() -> Select[bool]:
    new = (new_of_load(table, LOAD_ID).exists() for table in ENTRIES)
    return select(true()).where(or_(_stored_load().exists(), *new))


def _stored_load() -> Select[str]:
    snapshot = load_snapshots.c
    return select(snapshot.load_id).where(snapshot.ven_id == VEN_ID, snapshot.load_id == LOAD_ID)


class Membership(Struct, frozen=True):
    """A group, and how far a load may lag behind its VEN."""

    group_id: str
    gone_after: timedelta | None

    def vens(self) -> Select[str]:
        return members_of([self.group_id], self.gone_after)


class TypedLoads(Struct, frozen=True):
    """VENs with a load of any of these types, and how far a load may lag behind its VEN."""

    load_types: Sequence[str]
    gone_after: timedelta | None

    def vens(self) -> Select[str]:
        return vens_with_loads_of(self.load_types, self.gone_after)


Selection = Membership | TypedLoads
"""The VENs of a list."""


def current_vens(page: Page, among: Sequence[Selection] = ()) -> Query[VenRow]:
    """Select registered VENs with their latest values, by id."""
    return Query(VenRow, _vens_with(ven_snapshots, page, among))


def _vens_with(latest: FromClause, page: Page, among: Sequence[Selection] = ()) -> Relation:
    """`latest` has the columns of `ven_snapshots`."""
    width = latest_widths()
    query = (
        select(
            vens.c.ven_id,
            func.coalesce(vens.c.name, vens.c.ven_id).label("name"),
            func.coalesce(latest.c.status, vens.c.status, UNKNOWN_STATUS).label("status"),
            vens.c.latitude_deg,
            vens.c.longitude_deg,
            vens.c.address,
            vens.c.registration_id,
            vens.c.created_at,
            latest.c.received_at,
            latest.c.used_power_kw,
            latest.c.shed_power_kw,
            _active_event_id(latest).label("event_id"),
            width.c.since.label("slot_since"),
            width.c.width_s.label("slot_width_s"),
            width.c.source.label("slot_source"),
            vens.c.region,
            vens.c.tags,
        )
        .outerjoin(latest, latest.c.ven_id == vens.c.ven_id)
        .outerjoin(REPORTED_EVENT, REPORTED_EVENT.c.event_id == latest.c.event_id)
        .outerjoin(width, width.c.ven_id == vens.c.ven_id)
        .where(vens.c.retired_at.is_(None))
        .order_by(vens.c.ven_id)
        .limit(page.limit)
    )
    for selection in among:
        query = query.where(vens.c.ven_id.in_(selection.vens()))
    return query if page.after is None else query.where(vens.c.ven_id > page.after)


def _active_event_id(latest: FromClause) -> ColumnElement[str | None]:
    """The event named by the newest report; null if it is over, as some VENs continue to name it."""
    reported = REPORTED_EVENT.c
    # One comparison each: prepared statements cannot expand an IN.
    is_over = or_(*(reported.status == ended for ended in ENDED_EVENTS), reported.ended_at.is_not(None))
    return case((is_over, null()), else_=latest.c.event_id)


def vens_up_to(most: int, page: Page, among: Sequence[Selection] = ()) -> Select[int]:
    """Count the VENs of a page, up to a limit."""
    limit = most if page.limit is None else min(page.limit, most)
    of_page = _vens_with(ven_snapshots, Page(limit, page.after), among).with_only_columns(vens.c.ven_id)
    return select(func.count()).select_from(of_page.subquery())


def _described_loads(latest: FromClause) -> Relation:
    """Select the latest values of loads, by VEN and load, including loads that are gone."""
    return (
        select(
            latest.c.ven_id,
            latest.c.load_id,
            effective("load_type", latest).label("load_type"),
            effective("name", latest).label("name"),
            capacity_kw(latest).label("capacity_kw"),
            shed_capability_kw(latest).label("shed_capability_kw"),
            latest.c.used_power_kw,
            (func.coalesce(latest.c.shed_power_kw, 0.0) > 0).label("is_shedding"),
            is_enabled(latest).label("is_enabled"),
            effective("priority", latest).label("priority"),
        )
        .select_from(with_settings(latest))
        .order_by(latest.c.ven_id, latest.c.load_id)
    )


def loads_of(ven_ids: Sequence[str], gone_after: timedelta | None) -> Query[LoadRow]:
    """Select the loads of VENs, by VEN and load."""
    ven_id = load_snapshots.c.ven_id
    loads = (
        _described_loads(load_snapshots)
        .outerjoin(ven_snapshots, ven_snapshots.c.ven_id == ven_id)
        .where(ven_id == any_(literal(list(ven_ids), ARRAY(Text))), ~is_gone(gone_after, ven_snapshots.c.ts))
    )
    return Query(LoadRow, loads)


VenWithLoad = tuple[object, ...]
"""Whether all pending batches were read; then a `LoadRow`, or nulls; and a `VenRow`, or its `ven_id`."""


def ven_with_loads(ven_id: str, gone_after: timedelta | None) -> Query[VenWithLoad]:
    """Select a VEN, in each row with one of its loads, or with nulls if it has none."""
    return Query(tuple, _ven_with_loads(gone_after), {"ven_id": ven_id})


def loads_of_ven(ven_id: str, page: Page, gone_after: timedelta | None) -> Query[VenWithLoad]:
    values: dict[str, object] = {"ven_id": ven_id, "most": page.limit}
    if page.after is None:
        return Query(tuple, _loads_of_ven(gone_after), values)
    return Query(tuple, _loads_of_ven_after(gone_after), {**values, "after": page.after})


def load(ven_id: str, load_id: str, gone_after: timedelta | None) -> Query[VenWithLoad]:
    return Query(tuple, _load(gone_after), {"ven_id": ven_id, "load_id": load_id})


def newest_ts(ven_id: str) -> Query[tuple[bool, datetime | None]]:
    """Select the newest device time of a VEN and its loads."""
    return Query(tuple, _newest_ts(), {"ven_id": ven_id})


@cache
def _newest_ts() -> Relation:
    complete, newest = is_complete(), newest_ts_of_loads().subquery("newest")
    ts = func.greatest(newest_ts_of_ven(), newest.c.ts).label("ts")
    return select(complete, ts).select_from(complete).outerjoin(newest, true())


def _current_loads(latest: FromClause, gone_after: timedelta | None) -> Relation:
    """Select the loads of one VEN that are not gone, as of its last message."""
    return _described_loads(latest).where(~is_gone(gone_after, newest_ts_of_ven(), latest))


@cache
def _ven_with_loads(gone_after: timedelta | None) -> Relation:
    ven = _vens_with(latest_of_ven(), Page()).where(vens.c.ven_id == VEN_ID).subquery("ven")
    return _in_rows(ven, _current_loads(latest_of_loads(), gone_after).subquery("load"))


@cache
def _loads_of_ven(gone_after: timedelta | None) -> Relation:
    """Select loads without a range of ids, so that PostgreSQL skips from load to load in the index."""
    of_page = _current_loads(latest_of_loads(), gone_after).limit(MOST)
    return _in_rows(_registered_ven().subquery("ven"), of_page.subquery("load"))


@cache
def _loads_of_ven_after(gone_after: timedelta | None) -> Relation:
    latest = latest_of_loads()
    of_page = _current_loads(latest, gone_after).where(latest.c.load_id > AFTER).limit(MOST)
    return _in_rows(_registered_ven().subquery("ven"), of_page.subquery("load"))


@cache
def _load(gone_after: timedelta | None) -> Relation:
    of_load = _current_loads(latest_of_loads(LOAD_ID), gone_after)
    return _in_rows(_registered_ven().subquery("ven"), of_load.subquery("load"))


def _in_rows(ven: Subquery, loads: Subquery) -> Relation:
    """Select whether all pending batches were read, and one load in each row; nulls without loads."""
    complete = is_complete()
    return (
        select(complete, *fields_of(LoadRow, loads), *ven.c)
        .select_from(complete)
        .outerjoin(ven, true())
        .outerjoin(loads, loads.c.ven_id == ven.c.ven_id)
        .order_by(loads.c.load_id)
    )


def ven_summaries(
    page: Page, gone_after: timedelta | None, among: Sequence[Selection] = ()
) -> Query[VenSummaryRow]:
    """Select the list view: registered VENs with their shed capability.

    The loads of all VENs of the page are summed in one pass. A join by VEN would read all loads for each VEN
    if statistics suggest that a VEN has most of them.
    """
    ven = _vens_with(ven_snapshots, page, among).cte("page").prefix_with("MATERIALIZED")
    sheddable = _sheddable_of_page(ven, gone_after, are_neighbours=not among)
    controllable_kw = case(
        (ven.c.status.in_(UNAVAILABLE), 0.0),
        else_=func.coalesce(sheddable.c.shed_kw, ven.c.shed_power_kw, 0.0),
    )
    summaries = (
        select(
            *(ven.c[name] for name in VenSummaryRow._fields if name in ven.c),
            controllable_kw.label("controllable_power_kw"),
            _response_ms(ven.c.ven_id).label("response_ms"),
        )
        .outerjoin(sheddable, sheddable.c.ven_id == ven.c.ven_id)
        .order_by(ven.c.ven_id)
    )
    return Query(VenSummaryRow, summaries)


def _sheddable_of_page(page: CTE, gone_after: timedelta | None, *, are_neighbours: bool) -> CTE:
    """Select the shed capability of enabled loads of each VEN of a page, kW; VENs without loads are left out.

    A page of all VENs is contiguous by id, so a range of ids selects its loads.
    """
    ven_id = load_snapshots.c.ven_id
    first, last = (select(edge(page.c.ven_id)).scalar_subquery() for edge in (func.min, func.max))
    is_of_page = and_(ven_id >= first, ven_id <= last) if are_neighbours else ven_id == one_of(page)
    shed_kw = func.sum(case((is_enabled(), shed_capability_kw()), else_=0.0)).label("shed_kw")
    sums = (
        select(ven_id, shed_kw)
        .select_from(with_settings())
        .outerjoin(ven_snapshots, ven_snapshots.c.ven_id == ven_id)
        .where(is_of_page, ~is_gone(gone_after, ven_snapshots.c.ts))
    )
    return sums.group_by(ven_id).cte("sheddable").prefix_with("MATERIALIZED")


def _response_ms(ven_id: ColumnElement[str]) -> ColumnElement[float]:
    """The mean time from sending to acknowledgement over a VEN's last commands; null without any."""
    answer = commands.alias()
    last = (
        select((extract("epoch", answer.c.acknowledged_at - answer.c.sent_at) * 1000).label("ms"))
        .where(
            answer.c.ven_id == ven_id,
            answer.c.acknowledged_at.is_not(None),
            answer.c.sent_at.is_not(None),
        )
        .order_by(answer.c.created_at.desc())
        .limit(RECENT_ANSWERS)
        .correlate(ven_id.table)
        .subquery()
    )
    return select(func.avg(last.c.ms)).scalar_subquery()
