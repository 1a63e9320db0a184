"""Quotas of a message, of a VEN, and of all VENs together.

Each worker counts by itself, in the dictionaries in which it interns names anyway, so that a message without
new names costs nothing extra. Several workers together, or one after a restart, may exceed a quota somewhat:
VENs with more than half of it are read from the database at the start and every `REFRESH`.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from ingest.storing.rows import identifier, label

REFRESH = timedelta(minutes=30)
"""Interval at which loads and load types that no longer exist are removed from the counts."""


class Limits(Struct, frozen=True):
    """The upper limits."""

    payload_bytes: int = 1_048_576
    loads_of_ven: int = 1_000
    vens: int = 1_000_000
    load_types: int = 1_000


class QuotaExceeded(ValueError):  # noqa: N818 - as `RejectedError`
    """A new name exceeds a quota; `reason` is that of the rejected message."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


LoadIds = dict[str, str]
"""The load ids of one VEN, mapped to themselves: the garbage collector ignores dictionaries of strings."""


LoadTypes = dict[str | None, str | None]
"""Load types as they are stored, by how messages spell them."""


class Quotas:
    """The loads and load types that a worker has accepted, up to a limit of each.

    One thread may decode while another calls `restart`, which replaces both dictionaries: so each method
    reads the attribute once.
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._refreshed_at: datetime | None = None
        self.load_ids: dict[str, LoadIds] = {}
        self.load_types: LoadTypes = {}
        self.restart({}, ())

    def is_due(self, now: datetime) -> bool:
        """Whether a refresh is due; true only once, so that a failed refresh blocks no message."""
        if self._refreshed_at is not None and now - self._refreshed_at < REFRESH:
            return False
        self._refreshed_at = now
        return True

    def restart(self, load_ids: Mapping[str, Iterable[str]], load_types: Iterable[str]) -> None:
        """Replace the counts with those of the database: loads of VENs with many, and all load types."""
        self.load_ids = {ven_id: dict(zip(ids, ids, strict=True)) for ven_id, ids in load_ids.items()}
        self.load_types = {None: None, "": None} | {each: each for each in load_types}

    def load_id(self, ven_id: str, load_id: str) -> str:
        """Return a load's id, counted for the VEN from now on.

        Raises:
            QuotaExceeded: the VEN has reached its limit of loads.
            ValueError: it is not an identifier.
        """
        load_ids = self.load_ids.setdefault(ven_id, {})
        if load_id not in load_ids:
            if len(load_ids) >= self.limits.loads_of_ven:
                raise QuotaExceeded("too_many_loads", f"{ven_id} has {len(load_ids)} loads already")
            shared = identifier(load_id)  # one string object for all VENs that have a load of this name
            load_ids[shared] = shared
        return load_ids[load_id]

    def load_type(self, text: str | None) -> str | None:
        """Return a load's type as it is stored.

        Raises:
            QuotaExceeded: the limit of load types is reached.
            ValueError: PostgreSQL cannot store it.
        """
        types = self.load_types
        if text not in types:
            if len(types) >= self.limits.load_types + 2:  # beside two spellings of no type
                raise QuotaExceeded("too_many_load_types", f"there are {self.limits.load_types} already")
            types[text] = label(text)
        return types[text]
