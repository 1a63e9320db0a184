"""The database's tables, each beside the pandera model of its frames."""

from schemas.tables import events, history, ledger, raw, registry, snapshots
from schemas.tables.metadata import metadata

__all__ = ["events", "history", "ledger", "metadata", "raw", "registry", "snapshots"]
