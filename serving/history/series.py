"""What a history is a history of: the tables, the lane, and the entities of a series."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import cache
from types import MappingProxyType

from msgspec import Struct, structs
from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    FromClause,
    Select,
    Table,
    Text,
    bindparam,
    func,
    select,
    true,
)

from schemas.db.queries import Query, Relation
from schemas.demand_response.groups import members
from schemas.tables.history import (
    ENTITY_RESOLUTIONS_S,
    NETWORK_RESOLUTIONS_S,
    horizons,
    load_history,
    network_history,
    ven_history,
)
from schemas.tables.ledger import ingest_batches, pending_batches
from schemas.tables.raw import ven_load_samples, ven_telemetry
from schemas.tables.registry import groups
from serving.db.pending import within_days_pending

NO_KEY: Mapping[str, object] = MappingProxyType({})
"""The key of series that are not stored by VEN."""


@cache
def since() -> Select[int, datetime]:
    """Select the horizons of all resolutions."""
    return select(horizons.c.resolution_s, horizons.c.since)


class Series(Struct, frozen=True):
    """The source of a history: raw samples, their buckets, the lane that maintains them, and the entity's
    key.

    `by` distinguishes entities if a query covers several.
    """

    raw: Table
    buckets: Table
    resolutions_s: tuple[int, ...]
    lane: str
    of: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    raw_rows_per_s: float = 1
    """Estimate: VENs report every few seconds."""
    members: CTE | None = None
    """Restricts to entities by the columns `by`; their keys are parameters."""
    adds_members: bool = False
    """Whether the result is the total of the members, not a row for each."""


NETWORK = Series(ven_telemetry, network_history, NETWORK_RESOLUTIONS_S, "snapshot", raw_rows_per_s=20_000)
VEN = Series(ven_telemetry, ven_history, ENTITY_RESOLUTIONS_S, "history", of=("ven_id",))
LOAD = Series(ven_load_samples, load_history, ENTITY_RESOLUTIONS_S, "history", of=("ven_id", "load_id"))
VENS = Series(ven_telemetry, ven_history, ENTITY_RESOLUTIONS_S, "history", by=("ven_id",))
"""All VENs, each on its own: the network's energy is their sum."""


@cache
def group_series(gone_after: timedelta | None) -> Series:
    """Return the series of a group's members, each on its own: their energies are summed."""
    member = members(groups.c.group_id == bindparam("group_id"), gone_after).cte("group_member")
    return structs.replace(VENS, raw_rows_per_s=NETWORK.raw_rows_per_s, members=member, adds_members=True)


def _listed(*columns: str) -> CTE:
    """Select entities whose keys are parameters: an array for each column."""
    arrays = [bindparam(f"{column}s", type_=ARRAY(Text)) for column in columns]
    return select(func.unnest(*arrays).table_valued(*columns).render_derived()).cte("listed")


LISTED_VENS = structs.replace(VENS, members=_listed("ven_id"))
"""The VENs in the parameter `ven_ids`, each on its own."""

LISTED_LOADS = structs.replace(LOAD, of=(), by=("ven_id", "load_id"), members=_listed("ven_id", "load_id"))
"""The loads in the parameters `ven_ids` and `load_ids`, each on its own."""

TOTAL_OF_LISTED_LOADS = structs.replace(LISTED_LOADS, adds_members=True)


def listed(series: Series, keys: Sequence[Sequence[str]]) -> dict[str, list[str]]:
    """Return the parameters of a series of listed entities."""
    return {f"{column}s": [key[place] for key in keys] for place, column in enumerate(series.by)}


def known_group(group_id: str) -> Query[tuple[str]]:
    return Query(tuple, _known_group(), {"group_id": group_id})


@cache
def _known_group() -> Select[str]:
    return select(groups.c.group_id).where(groups.c.group_id == bindparam("group_id"))


def of_each_member(series: Series, aggregated: Relation) -> Relation:
    """Select the rows of a query for each member.

    Whatever the statistics, the rows of each member are looked up by its id: PostgreSQL does not flatten an
    aggregate to read those of all VENs at once.
    """
    if series.members is None:
        return aggregated
    each = aggregated.correlate(series.members).lateral("of_member")
    return select(*each.c).select_from(series.members.join(each, true()))


def of_entity(series: Series, table: FromClause) -> list[ColumnElement[bool]]:
    member = series.members
    of_members = [] if member is None else [table.c[name] == member.c[name] for name in series.by]
    return [*(table.c[name] == bindparam(name) for name in series.of), *of_members]


def is_pending(raw: Table, lane: str) -> list[ColumnElement[bool]]:
    """The condition for rows of pending batches; days prune partitions, the span most rows of a day."""
    batches = (
        select(ingest_batches)
        .join(pending_batches, pending_batches.c.batch_id == ingest_batches.c.batch_id)
        .where(pending_batches.c.lane == lane)
        .subquery()
    )
    return [
        raw.c.batch_id.in_(select(batches.c.batch_id)),
        within_days_pending(raw.c.ts),
        raw.c.ts >= select(func.min(batches.c.first_ts)).scalar_subquery(),
        raw.c.ts <= select(func.max(batches.c.last_ts)).scalar_subquery(),
    ]
