"""Quotas: how much a message, a VEN and all VENs together may have.

A worker counts for itself, by the names that it has met, which it looks up anyway; so a message whose names
are all known costs nothing more. Several workers together, or one after a restart, may let through somewhat
more than a quota: what the database holds beyond half of one is read at the start and every `REFRESH`.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from msgspec import Struct

from ingest.rows import identifier, label

REFRESH = timedelta(minutes=30)
"""After that, loads and types that have gone have made room."""


class Limits(Struct, frozen=True):
    """The most of each."""

    payload_bytes: int = 1_048_576
    loads_of_ven: int = 1_000
    vens: int = 1_000_000
    load_types: int = 1_000


class QuotaExceeded(ValueError):  # noqa: N818 - as `Refused`
    """A new name beyond a quota; `reason` is that of the refusal."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


LoadIds = dict[str, str]
"""Of one VEN, each by itself: plain dictionaries, which Python's garbage collector need not visit."""


class Quotas:
    """The loads and load types that a worker has met, up to a limit of each."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._refreshed_at: datetime | None = None
        self.load_ids: dict[str, LoadIds] = {}
        self.load_types: dict[str | None, str | None] = {}
        self.restart({}, ())

    def is_due(self, now: datetime) -> bool:
        """Whether to look at the database again; says so once, so that a failure to look stops nothing."""
        if self._refreshed_at is not None and now - self._refreshed_at < REFRESH:
            return False
        self._refreshed_at = now
        return True

    def restart(self, load_ids: Mapping[str, Iterable[str]], load_types: Iterable[str]) -> None:
        """Begin again with what the database holds: loads of VENs with many, and all types."""
        self.load_ids = {ven_id: dict(zip(ids, ids, strict=True)) for ven_id, ids in load_ids.items()}
        self.load_types = {None: None, "": None} | {each: each for each in load_types}

    def load_id(self, ven_id: str, load_id: str) -> str:
        """A load's id, which counts as the VEN's from now on.

        Raises:
            QuotaExceeded: the VEN has as many loads as it may.
            ValueError: it is no identifier.
        """
        known = self.load_ids.setdefault(ven_id, {})
        if load_id not in known:
            if len(known) >= self.limits.loads_of_ven:
                raise QuotaExceeded("too_many_loads", f"{ven_id} has {len(known)} loads already")
            shared = identifier(load_id)  # one text for all VENs that have a load of this name
            known[shared] = shared
        return load_id

    def load_type(self, text: str | None) -> str | None:
        """A load's type as it is stored.

        Raises:
            QuotaExceeded: there are as many types as there may be.
            ValueError: PostgreSQL cannot hold it.
        """
        if text not in self.load_types:
            if len(self.load_types) >= self.limits.load_types + 2:  # and two ways to say none
                raise QuotaExceeded("too_many_load_types", f"there are {self.limits.load_types} already")
            self.load_types[text] = label(text)
        return self.load_types[text]
