"""Demand response: events, participations, and the outbox of commands to the VENs.

An event's states are recorded in `events` and, for each VEN, in `event_participations`; its progress while it
runs in `event_progress`. Its delivery is settled once, and again when later data change it: every settlement
is a new revision, by each baseline.
"""

import polars as pl
from sqlalchemy import JSON, Column, Double, Index, Integer, Table, Text, text

from schemas.db.frame_models import pa
from schemas.tables.metadata import Frame, Utc, instant, key_instant, metadata, power_kw, text_key

EVENT_DIRECTIONS = ("reduce", "increase")
EVENT_STATUSES = ("scheduled", "active", "completed", "cancelled")
TO_COME = ("scheduled", "active")
ENDED_EVENTS = ("completed", "cancelled")
PARTICIPATION_STATUSES = ("planned", "notified", "acknowledged", "opted_out", "started", "finished")
LIVE_PARTICIPATIONS = ("planned", "notified", "acknowledged", "started")
"""Statuses of participations that are not over."""

_IS_LIVE = "status IN ('planned', 'notified', 'acknowledged', 'started')"
COMMAND_STATUSES = ("pending", "sent", "acknowledged", "rejected", "expired", "failed")
OPEN_COMMANDS = ("pending", "sent")
"""Statuses of commands that are not final."""

INTERVAL_PERCENT = 90
"""Confidence level of the intervals of deliveries, percent."""

events = Table(
    "events",
    metadata,
    text_key("event_id"),
    Column("status", Text, nullable=False),
    instant("start_time"),
    instant("end_time"),
    power_kw("requested_reduction_kw", nullable=False),
    power_kw("actual_reduction_kw"),
    Column("priority", Integer, nullable=False, server_default=text("0")),
    Column("ven_ids", JSON),
    Column("group_ids", JSON),
    Column("load_types", JSON),
    Column("lead_time_s", Double),
    Column("notes", JSON),
    instant("notify_at"),
    instant("started_at", nullable=True),
    instant("ended_at", nullable=True),
    instant("created_at"),
    power_kw("shared_reduction_kw"),
    Column("direction", Text, nullable=False, server_default=text("'reduce'")),
    Column("intervals", JSON),
    Column("randomize_start_s", Double, nullable=False, server_default=text("0")),
    Column("stagger_return_s", Double, nullable=False, server_default=text("0")),
    power_kw("import_limit_kw"),
    power_kw("export_limit_kw"),
    Column("terms_revision", Integer, nullable=False, server_default=text("0")),
    Index("ix_events_start_time", "start_time"),
)

event_participations = Table(
    "event_participations",
    metadata,
    text_key("ven_id"),
    text_key("event_id"),
    Column("status", Text, nullable=False),
    power_kw("available_kw", nullable=False),
    power_kw("requested_reduction_kw", nullable=False),
    Column("command_id", Text),
    instant("notified_at", nullable=True),
    instant("acknowledged_at", nullable=True),
    instant("opted_out_at", nullable=True),
    instant("started_at", nullable=True),
    instant("named_at", nullable=True),
    instant("finished_at", nullable=True),
    instant("told_end_time", nullable=True),
    instant("asked_again_at", nullable=True),
    instant("released_at", nullable=True),
    Column("told_terms_revision", Integer),
    Column("told_load_types", JSON),
    Index("ix_event_participations_event_id", "event_id"),
    Index("ix_event_participations_live", "event_id", postgresql_where=text(_IS_LIVE)),
)

event_shares = Table(
    "event_shares",
    metadata,
    text_key("ven_id"),
    text_key("event_id"),
    key_instant("at"),
    power_kw("requested_reduction_kw", nullable=False),
    Index("ix_event_shares_event_id", "event_id"),
)

event_requests = Table(
    "event_requests",
    metadata,
    text_key("event_id"),
    key_instant("at"),
    power_kw("requested_reduction_kw", nullable=False),
)

event_progress = Table(
    "event_progress",
    metadata,
    text_key("event_id"),
    power_kw("current_reduction_kw"),
    Column("delivered_kwh", Double),
    Column("vens_responding", Integer, nullable=False),
    Column("vens_reporting", Integer),
    Column("avg_response_ms", Double),
    Column("efficiency_percent", Double),
    instant("refreshed_at"),
)

event_reductions = Table(
    "event_reductions",
    metadata,
    text_key("ven_id"),
    text_key("event_id"),
    power_kw("reduction_kw", nullable=False),
    Column("delivered_kwh", Double),
)

commands = Table(
    "commands",
    metadata,
    text_key("ven_id"),
    text_key("command_id"),
    Column("op", Text, nullable=False),
    Column("load_id", Text),
    Column("event_id", Text),
    Column("data", JSON, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    instant("created_at"),
    instant("next_attempt_at"),
    Column("leased_by", Text),
    instant("leased_until", nullable=True),
    instant("sent_at", nullable=True),
    instant("queued_since", nullable=True),
    Column("interruptions", Integer, nullable=False, server_default=text("0")),
    instant("acknowledged_at", nullable=True),
    instant("executed_at", nullable=True),
    instant("expires_at"),
    Column("acknowledgement", JSON),
    Column("error", Text),
    Index("ix_commands_command_id", "command_id"),
    Index("ix_commands_created_at", "ven_id", "created_at"),
    Index("ix_commands_event_id", "event_id", postgresql_where=text("event_id IS NOT NULL")),
    Index(
        "ix_commands_watched",
        "acknowledged_at",
        postgresql_where=text("status = 'acknowledged' AND executed_at IS NULL"),
    ),
    Index("ix_commands_open", "next_attempt_at", postgresql_where=text("status IN ('pending', 'sent')")),
)


def _measured(name: str, *keys: Column[str]) -> Table:
    """The delivery of an event by one baseline; `performance_percent` of the request."""
    return Table(
        name,
        metadata,
        *keys,
        text_key("event_id"),
        Column("revision", Integer, primary_key=True, autoincrement=False),
        text_key("baseline"),
        power_kw("requested_kw", nullable=False),
        Column("requested_kwh", Double),
        power_kw("baseline_kw"),
        power_kw("actual_kw"),
        power_kw("delivered_kw"),
        Column("delivered_kwh", Double),
        power_kw("delivered_low_kw"),
        power_kw("delivered_high_kw"),
        Column("performance_percent", Double),
        Column("coverage_percent", Double, nullable=False),
        Column("rrmse_percent", Double),
        Column("days_used", Integer, nullable=False),
        Column("adjustment", Text),
        power_kw("adjustment_kw"),
        Column("adjustment_reason", Text),
        Column("note", Text),
        instant("settled_at"),
    )


event_settlements = _measured("event_settlements")
ven_settlements = _measured("ven_settlements", text_key("ven_id"))


class EventFrame(Frame):
    """`ven_ids`: VENs that the event names, `group_ids`: groups that it targets, both JSON arrays; without
    either it targets all VENs. `load_types`: if any, only loads of these types are targeted.
    """

    event_id: str
    status: str = pa.Field(isin=EVENT_STATUSES)
    start_time: Utc
    end_time: Utc
    requested_reduction_kw: float = pa.Field(gt=0)
    actual_reduction_kw: float = pa.Field(nullable=True)
    priority: pl.Int32
    ven_ids: str = pa.Field(nullable=True)
    group_ids: str = pa.Field(nullable=True)
    load_types: str = pa.Field(nullable=True)
    lead_time_s: float = pa.Field(nullable=True, ge=0)
    """How long before the start VENs get the command; null: `EVENTS_LEAD_TIME_S`."""

    notes: str = pa.Field(nullable=True)
    """Numbers of VENs that are passed over: a JSON array of `reason` and `vens`. Null: not counted yet."""

    notify_at: Utc
    started_at: Utc = pa.Field(nullable=True)
    ended_at: Utc = pa.Field(nullable=True)
    created_at: Utc
    shared_reduction_kw: float = pa.Field(nullable=True)
    """The request for which the current shares were computed; null before."""

    direction: str = pa.Field(isin=EVENT_DIRECTIONS)
    """Whether VENs are to use less or more; kW are positive either way."""

    intervals: str = pa.Field(nullable=True)
    """kW by time from the start on: a JSON array of `duration_s` and `target_kw`; `event_requests` has it as
    revisions. After the last one, and without any, the event requests `requested_reduction_kw`.
    """

    randomize_start_s: float = pa.Field(ge=0)
    stagger_return_s: float = pa.Field(ge=0)
    import_limit_kw: float = pa.Field(nullable=True, ge=0)
    export_limit_kw: float = pa.Field(nullable=True, ge=0)
    terms_revision: pl.Int32 = pa.Field(ge=0)
    """The revision of the intervals and limits: VENs notified of an earlier one are notified again.
    """


class EventParticipationFrame(Frame):
    """`available_kw`: the VEN's capability when the request was shared out; `command_id`: its notification.

    `named_at`: the device time of the report that first named the event. `told_end_time`: the end that the
    last command said. `asked_again_at`: when the command was repeated because reports named the event no
    more; null once they do, or the VEN has acknowledged it. `released_at`: when the VEN was sent a `restore`
    during the event, as it is not requested any more; null once it is requested again. `told_load_types`:
    the types of load in its notification, a JSON array; null for all its loads.
    """

    ven_id: str
    event_id: str
    status: str = pa.Field(isin=PARTICIPATION_STATUSES)
    available_kw: float = pa.Field(ge=0)
    requested_reduction_kw: float = pa.Field(ge=0)
    command_id: str = pa.Field(nullable=True)
    notified_at: Utc = pa.Field(nullable=True)
    acknowledged_at: Utc = pa.Field(nullable=True)
    opted_out_at: Utc = pa.Field(nullable=True)
    started_at: Utc = pa.Field(nullable=True)
    named_at: Utc = pa.Field(nullable=True)
    finished_at: Utc = pa.Field(nullable=True)
    told_end_time: Utc = pa.Field(nullable=True)
    asked_again_at: Utc = pa.Field(nullable=True)
    released_at: Utc = pa.Field(nullable=True)
    told_terms_revision: pl.Int32 = pa.Field(nullable=True)
    """`terms_revision` of the event in the last command; null: before this was recorded."""
    told_load_types: str = pa.Field(nullable=True)


class EventRequestFrame(Frame):
    """Revisions of an event's request from a time on, kW; also future ones, for its intervals.

    No rows if it has no intervals and never changed.
    """

    event_id: str
    at: Utc
    requested_reduction_kw: float = pa.Field(ge=0)


class EventShareFrame(Frame):
    """Revisions of a VEN's share, the request from a time on, kW; 0 when it left or went offline."""

    ven_id: str
    event_id: str
    at: Utc
    requested_reduction_kw: float = pa.Field(ge=0)


class EventProgressFrame(Frame):
    """The progress of a running event, or of one that has ended, until it is settled.

    `vens_reporting`: participants whose latest report is not older than their presence time, and who have a
    baseline; the others do not count in `current_reduction_kw`. Null in rows from before this was recorded.
    """

    event_id: str
    current_reduction_kw: float = pa.Field(nullable=True)
    delivered_kwh: float = pa.Field(nullable=True)
    vens_responding: pl.Int32 = pa.Field(ge=0)
    vens_reporting: pl.Int32 = pa.Field(ge=0, nullable=True)
    avg_response_ms: float = pa.Field(nullable=True)
    efficiency_percent: float = pa.Field(nullable=True)
    refreshed_at: Utc


class EventReductionFrame(Frame):
    """The delivery of each VEN in a running event, or at its end, kW; the sum is the event's progress."""

    ven_id: str
    event_id: str
    reduction_kw: float
    delivered_kwh: float = pa.Field(nullable=True)
    """The energy so far; null if unknown, and in rows from before this was recorded."""


class CommandFrame(Frame):
    """`command_id` is the correlation id. `acknowledged_at` is reported by the VEN, `executed_at` by
    telemetry.

    A dispatcher leases a command until `leased_until`. Since `queued_since` the broker may queue an attempt
    for an offline VEN; `interruptions` counts consecutive attempts at which the connection ended.
    """

    ven_id: str
    command_id: str
    op: str
    load_id: str = pa.Field(nullable=True)
    event_id: str = pa.Field(nullable=True)
    data: str
    status: str = pa.Field(isin=COMMAND_STATUSES)
    attempts: pl.Int32 = pa.Field(ge=0)
    created_at: Utc
    next_attempt_at: Utc
    leased_by: str = pa.Field(nullable=True)
    leased_until: Utc = pa.Field(nullable=True)
    sent_at: Utc = pa.Field(nullable=True)
    queued_since: Utc = pa.Field(nullable=True)
    interruptions: pl.Int32 = pa.Field(ge=0)
    acknowledged_at: Utc = pa.Field(nullable=True)
    executed_at: Utc = pa.Field(nullable=True)
    expires_at: Utc
    acknowledgement: str = pa.Field(nullable=True)
    error: str = pa.Field(nullable=True)


class EventSettlementFrame(Frame):
    """The portfolio's performance in an event; powers are energies over the hours of the event.

    `adjustment` (null in revisions from before it was recorded): `none`, `multiplicative`, `additive`, and
    for a portfolio whose VENs differ `mixed`; `adjustment_kw`: what it adds to the baseline, the mean over
    the event. In revisions from before migration 0015, powers are means over the time that is covered.
    `delivered_low_kw`, `delivered_high_kw`: the ends of the interval in which the delivery lies with
    `INTERVAL_PERCENT`; null where too few days predict it, and in revisions from
    before migration 0026.
    """

    event_id: str
    revision: pl.Int32 = pa.Field(ge=1)
    baseline: str
    requested_kw: float
    requested_kwh: float = pa.Field(nullable=True)
    baseline_kw: float = pa.Field(nullable=True)
    actual_kw: float = pa.Field(nullable=True)
    delivered_kw: float = pa.Field(nullable=True)
    delivered_kwh: float = pa.Field(nullable=True)
    delivered_low_kw: float = pa.Field(nullable=True)
    delivered_high_kw: float = pa.Field(nullable=True)
    performance_percent: float = pa.Field(nullable=True)
    coverage_percent: float = pa.Field(ge=0, le=100)
    rrmse_percent: float = pa.Field(nullable=True)
    days_used: pl.Int32 = pa.Field(ge=0)
    adjustment: str = pa.Field(nullable=True)
    adjustment_kw: float = pa.Field(nullable=True)
    adjustment_reason: str = pa.Field(nullable=True)
    note: str = pa.Field(nullable=True)
    settled_at: Utc


class VenSettlementFrame(EventSettlementFrame):
    """The settlement of one VEN, like `EventSettlementFrame`."""

    ven_id: str
