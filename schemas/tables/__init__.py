"""The database's tables, each beside the pandera model of its frames."""

from schemas.tables import access, events, history, ledger, live, presence, raw, registry, snapshots
from schemas.tables.metadata import Frame, metadata

FRAMES: dict[str, type[Frame]] = {
    "api_keys": access.ApiKeyFrame,
    "api_sessions": access.ApiSessionFrame,
    "audit_log": access.AuditFrame,
    "commands": events.CommandFrame,
    "event_participations": events.EventParticipationFrame,
    "event_progress": events.EventProgressFrame,
    "event_reductions": events.EventReductionFrame,
    "event_shares": events.EventShareFrame,
    "event_settlements": events.EventSettlementFrame,
    "events": events.EventFrame,
    "horizons": history.HorizonFrame,
    "ingest_batches": ledger.IngestBatchFrame,
    "job_leases": ledger.JobLeaseFrame,
    "job_runs": ledger.JobRunFrame,
    "live_changes": live.LiveChangeFrame,
    "load_history": history.LoadHistoryFrame,
    "load_snapshots": snapshots.LoadSnapshotFrame,
    "load_type_rollups": snapshots.LoadTypeRollupFrame,
    "loads": registry.LoadFrame,
    "network_energy": history.NetworkEnergyFrame,
    "network_history": history.NetworkHistoryFrame,
    "network_snapshot": snapshots.NetworkSnapshotFrame,
    "partition_moves": ledger.PartitionMoveFrame,
    "pending_batches": ledger.PendingBatchFrame,
    "rejected_messages": ledger.RejectedMessageFrame,
    "skewed_reports": presence.SkewedReportFrame,
    "stale_slots": history.StaleSlotFrame,
    "ven_history": history.VenHistoryFrame,
    "ven_load_descriptions": raw.LoadEntryFrame,
    "ven_load_samples": raw.LoadEntryFrame,
    "ven_settlements": events.VenSettlementFrame,
    "ven_snapshots": snapshots.VenSnapshotFrame,
    "ven_statuses": raw.StatusFrame,
    "ven_telemetry": raw.TelemetryFrame,
    "vens": registry.VenFrame,
}
"""The model of each table's frames, by the table's name."""

__all__ = [
    "FRAMES",
    "Frame",
    "access",
    "events",
    "history",
    "ledger",
    "live",
    "metadata",
    "presence",
    "raw",
    "registry",
    "snapshots",
]
