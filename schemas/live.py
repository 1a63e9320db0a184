"""Assigns positions to changes of live streams: by serving before it reads, by the jobs before they trim."""

from sqlalchemy import Select, Update, func, select, update

from schemas.db.locks import LIVE_CHANGES, exclusive
from schemas.tables.live import live_changes

FIRST_POSITION = 1


def number_alone() -> Select[object]:
    """Take the lock for numbering, to the end of the transaction; call it before `number`."""
    return exclusive(LIVE_CHANGES)


def number() -> Update:
    """Assign the next positions to changes without one, in order of writing."""
    last = select(func.coalesce(func.max(live_changes.c.position), FIRST_POSITION - 1)).scalar_subquery()
    order = func.row_number().over(order_by=live_changes.c.change_id)
    numbered = (
        select(live_changes.c.change_id, (last + order).label("position"))
        .where(live_changes.c.position.is_(None))
        .subquery()
    )
    return (
        update(live_changes)
        .where(live_changes.c.change_id == numbered.c.change_id)
        .values(position=numbered.c.position)
    )
