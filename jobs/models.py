"""The frames that jobs read: the columns of a table that a transform needs, and no payloads."""

import pandera.polars as pa

from schemas.tables.events import EventParticipationFrame
from schemas.tables.ledger import Days
from schemas.tables.metadata import Frame, Utc


class ClaimFrame(Frame):
    """Pending batches, oldest first."""

    batch_id: int = pa.Field(unique=True)
    rows: int = pa.Field(ge=0)
    days: Days = pa.Field(nullable=True)


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


class VenGroupFrame(Frame):
    """Registered VENs whose last status is the same (null: none yet).

    `whole_shed_power_kw` is what those of them shed now that report no loads, and so count as one.
    """

    status: str = pa.Field(nullable=True)
    vens: int
    reporting_vens: int
    used_power_kw: float
    shed_power_kw: float
    whole_shed_power_kw: float


class LoadGroupFrame(Frame):
    """Loads of one type (null: not said) that may be controlled or not, of VENs that are offline or not."""

    load_type: str = pa.Field(nullable=True)
    enabled: bool
    online: bool
    capacity_kw: float
    shed_capability_kw: float
    usage_kw: float = pa.Field(ge=0)


class SlotEnergyFrame(Frame):
    """VEN history in some slots, as the network's energy needs it."""

    bucket: Utc
    used_power_kw_sum: float
    shed_power_kw_sum: float
    used_samples: int
    shed_samples: int


class WatchedVenFrame(Frame):
    """VENs whose presence is in question: silent for a while, or heard after another status than `online`."""

    ven_id: str = pa.Field(unique=True)
    status: str = pa.Field(nullable=True)
    status_ts: Utc = pa.Field(nullable=True)
    status_received_at: Utc = pa.Field(nullable=True)
    heard_at: Utc = pa.Field(nullable=True)


class RecentReportFrame(Frame):
    """The last few reports of some VENs."""

    ven_id: str
    ts: Utc
    received_at: Utc


class SlotSizeFrame(Frame):
    """How many reports and samples a slot has."""

    slot: Utc
    rows: int


class VenSizeFrame(Frame):
    """How many reports and samples a VEN has."""

    ven_id: str
    rows: int


class NewcomerFrame(Frame):
    """VENs that could shed something for an event, kW, and have not been told of it."""

    ven_id: str = pa.Field(unique=True)
    available_kw: float = pa.Field(gt=0)


class ShareFrame(Frame):
    """What the VENs that take part in an event could give, and have been asked for, kW."""

    ven_id: str = pa.Field(unique=True)
    available_kw: float = pa.Field(ge=0)
    requested_reduction_kw: float = pa.Field(ge=0)


class FollowedPartFrame(EventParticipationFrame):
    """Participations that are not over, with the VEN's answer and its newest report."""

    command_status: str = pa.Field(nullable=True)
    answered_at: Utc = pa.Field(nullable=True)
    reported_at: Utc = pa.Field(nullable=True)
    reported_event_id: str = pa.Field(nullable=True)
    shed_power_kw: float = pa.Field(nullable=True)
    is_away: bool
    event_status: str
    start_time: Utc
    end_time: Utc
