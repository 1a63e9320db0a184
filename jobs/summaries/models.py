"""The frames that jobs read: only the columns that a transform needs, without payloads."""

import polars as pl

from schemas.db.frame_models import pa
from schemas.demand_response.candidates import REASONS
from schemas.tables.events import EventParticipationFrame
from schemas.tables.ledger import Days
from schemas.tables.metadata import Frame, Utc


class ClaimFrame(Frame):
    """Pending batches, oldest first; `xid`: the transaction that wrote it, as locks number it."""

    batch_id: int = pa.Field(unique=True)
    rows: int = pa.Field(ge=0)
    days: Days = pa.Field(nullable=True)
    xid: int = pa.Field(nullable=True)


class ReportFrame(Frame):
    """New telemetry."""

    ven_id: str
    ts: Utc
    used_power_kw: float = pa.Field(nullable=True)
    shed_power_kw: float
    requested_reduction_kw: float = pa.Field(nullable=True)
    event_id: str = pa.Field(nullable=True)
    battery_soc: float = pa.Field(nullable=True)
    received_at: Utc


class TransitionFrame(Frame):
    """New status transitions."""

    ven_id: str
    ts: Utc
    status: str


class VenSampleFrame(Frame):
    """Panel samples, for history."""

    ven_id: str
    ts: Utc
    used_power_kw: float = pa.Field(nullable=True)
    shed_power_kw: float


class LoadSampleFrame(Frame):
    """Load samples, for history."""

    ven_id: str
    load_id: str
    ts: Utc
    used_power_kw: float = pa.Field(nullable=True)
    shed_power_kw: float = pa.Field(nullable=True)


class StatusSumsFrame(Frame):
    """Sums over registered VENs by their last status (null: none yet).

    `whole_shed_power_kw` is the shed power of those that report no loads, and so count as one.
    """

    status: str = pa.Field(nullable=True)
    vens: int
    reporting_vens: int
    used_power_kw: float
    shed_power_kw: float
    whole_shed_power_kw: float


class LoadSumsFrame(Frame):
    """Sums over loads by type (null: unknown), and by whether they, and their VENs, may be controlled now."""

    load_type: str = pa.Field(nullable=True)
    enabled: bool
    controllable: bool
    capacity_kw: float
    shed_capability_kw: float
    usage_kw: float = pa.Field(ge=0)


class PresentLoadsFrame(Frame):
    """Loads of a type that report usage, and enabled ones that report their shed capability."""

    load_type: str = pa.Field(unique=True)
    used_loads: int = pa.Field(ge=0)
    shed_loads: int = pa.Field(ge=0)


class WatchedVenFrame(Frame):
    """VENs whose presence may change: silent for a while, or heard after a status other than `online`."""

    ven_id: str = pa.Field(unique=True)
    status: str = pa.Field(nullable=True)
    status_ts: Utc = pa.Field(nullable=True)
    status_received_at: Utc = pa.Field(nullable=True)
    heard_at: Utc = pa.Field(nullable=True)


class RecentReportFrame(Frame):
    """The last few reports of VENs."""

    ven_id: str
    ts: Utc
    received_at: Utc


class PresentWidthFrame(Frame):
    """The current slot widths of VENs, s."""

    ven_id: str = pa.Field(unique=True)
    width_s: pl.Int32


class ReportTimeFrame(Frame):
    """Device times of reports."""

    ven_id: str
    ts: Utc


class SlotSizeFrame(Frame):
    """The number of reports and samples of a slot."""

    slot: Utc
    rows: int


class VenSizeFrame(Frame):
    """The number of reports and samples of a VEN."""

    ven_id: str
    rows: int


class CandidateFrame(Frame):
    """Rows of `schemas.demand_response.candidates.asked_vens`; powers in kW."""

    ven_id: str = pa.Field(nullable=True)
    available_kw: float = pa.Field(gt=0, nullable=True)
    reason: str = pa.Field(isin=REASONS, nullable=True)
    vens: int = pa.Field(ge=1)


class ShareFrame(Frame):
    """Available and requested power of the participants of an event, kW, and the end of their request."""

    ven_id: str = pa.Field(unique=True)
    available_kw: float = pa.Field(ge=0)
    requested_reduction_kw: float = pa.Field(ge=0)
    told_end_time: Utc = pa.Field(nullable=True)
    told_terms_revision: pl.Int32 = pa.Field(nullable=True)


class LoadToShedFrame(Frame):
    """Loads that an event may target, with what each could shed, kW."""

    ven_id: str
    load_id: str
    available_kw: float = pa.Field(ge=0)


class FollowedPartFrame(EventParticipationFrame):
    """Participations that are not over, or opted out, with the VEN's answer and its newest report.

    `is_unwanted`: it is not requested any more: retired, in maintenance, no target, or notified of other
    loads; `has_opt_out`: people have opted it out for now.
    """

    command_status: str = pa.Field(nullable=True)
    answered_at: Utc = pa.Field(nullable=True)
    reported_at: Utc = pa.Field(nullable=True)
    reported_event_id: str = pa.Field(nullable=True)
    shed_power_kw: float = pa.Field(nullable=True)
    is_away: bool
    is_unwanted: bool
    has_opt_out: bool
    event_status: str
    start_time: Utc
    end_time: Utc
