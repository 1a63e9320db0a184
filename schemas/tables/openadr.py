"""OpenADR 3.1: objects as clients sent them, with columns for searches; clients and signing keys.

Only the digest of a client's secret is stored. A signing key is stored in plain text: whoever reads it can
issue tokens.
"""

import polars as pl
from sqlalchemy import JSON, BigInteger, Boolean, Column, Identity, Index, LargeBinary, Table, Text, text
from sqlalchemy.schema import SchemaItem

from schemas.db.frame_models import pa
from schemas.tables.metadata import Frame, Texts, Utc, instant, metadata, power_kw, text_key, text_list

OPENADR_ROLES = ("bl", "ven")
"""Business logic, which is a utility or an aggregator; and a VEN."""

openadr_clients = Table(
    "openadr_clients",
    metadata,
    text_key("client_id"),
    Column("role", Text, nullable=False),
    text_list("scopes"),
    Column("digest", LargeBinary, nullable=False),
    instant("created_at"),
    instant("expires_at", nullable=True),
    instant("revoked_at", nullable=True),
)

openadr_signing_keys = Table(
    "openadr_signing_keys",
    metadata,
    text_key("key_id"),
    Column("secret", LargeBinary, nullable=False),
    instant("created_at"),
    instant("expires_at"),
)


def _id(name: str, *, nullable: bool = False) -> Column[str]:
    return Column(name, Text(collation="C"), nullable=nullable)


def _objects(name: str, *columns: SchemaItem) -> Table:
    """Return the table of one noun's objects, created, or for those of VENs owned, by `client_id`."""
    return Table(
        name,
        metadata,
        text_key("object_id"),
        _id("client_id"),
        text_list("targets"),
        Column("body", JSON, nullable=False),
        instant("created_at"),
        instant("modified_at"),
        *columns,
    )


openadr_programs = _objects(
    "openadr_programs",
    _id("program_name"),
    Index("ix_openadr_programs_program_name", "program_name", unique=True),
)

openadr_events = _objects(
    "openadr_events",
    _id("program_id"),
    instant("ends_at", nullable=True),
    _id("event_id", nullable=True),
    power_kw("flexibility_kw"),
    Index("ix_openadr_events_program_id", "program_id"),
    Index("ix_openadr_events_event_id", "event_id", unique=True),
)

openadr_reports = _objects(
    "openadr_reports",
    _id("program_id"),
    _id("event_id"),
    _id("client_name"),
    Index("ix_openadr_reports_event_id", "event_id"),
    Index("ix_openadr_reports_client_id", "client_id"),
    Index("ix_openadr_reports_modified_at", "modified_at"),
)

openadr_subscriptions = _objects(
    "openadr_subscriptions",
    _id("program_id", nullable=True),
    _id("client_name"),
    text_list("objects"),
    Column("reads_all", Boolean, nullable=False, server_default=text("false")),
    Index("ix_openadr_subscriptions_client_id", "client_id"),
)

openadr_vens = _objects(
    "openadr_vens",
    _id("ven_name"),
    _id("ven_id"),
    Column("is_registered_here", Boolean, nullable=False, server_default=text("false")),
    Index("ix_openadr_vens_ven_name", "ven_name", unique=True),
    Index("ix_openadr_vens_ven_id", "ven_id", unique=True),
    Index("ix_openadr_vens_client_id", "client_id"),
)

openadr_resources = _objects(
    "openadr_resources",
    _id("ven_object_id"),
    _id("resource_name"),
    _id("load_id"),
    Index("ix_openadr_resources_name", "ven_object_id", "resource_name", unique=True),
    Index("ix_openadr_resources_client_id", "client_id"),
)


report_inbox = Table(
    "report_inbox",
    metadata,
    Column("inbox_id", BigInteger, Identity(), primary_key=True),
    _id("client_id"),
    Column("vens", JSON, nullable=False),
    Column("body", JSON, nullable=False),
    instant("received_at"),
    postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 10_000},
)


openadr_messages = Table(
    "openadr_messages",
    metadata,
    Column("message_id", BigInteger, Identity(), primary_key=True),
    text_list("topics"),
    Column("payload", JSON, nullable=False),
    instant("created_at"),
    postgresql_with={"autovacuum_vacuum_scale_factor": 0, "autovacuum_vacuum_threshold": 10_000},
)


class OpenadrClientFrame(Frame):
    """Clients that may request tokens, and their scopes. Revoked ones stay, so that ids are not reused."""

    client_id: str
    role: str = pa.Field(isin=OPENADR_ROLES)
    scopes: Texts
    digest: pl.Binary
    created_at: Utc
    expires_at: Utc = pa.Field(nullable=True)
    revoked_at: Utc = pa.Field(nullable=True)


class OpenadrSigningKeyFrame(Frame):
    """The newest signs tokens; older ones verify them until they expire."""

    key_id: str
    secret: pl.Binary
    created_at: Utc
    expires_at: Utc


class OpenadrObjectFrame(Frame):
    """`body`: what the client sent, in JSON, without the metadata of this server."""

    object_id: str
    client_id: str
    targets: Texts
    body: str
    created_at: Utc
    modified_at: Utc


class OpenadrProgramFrame(OpenadrObjectFrame):
    program_name: str


class OpenadrEventFrame(OpenadrObjectFrame):
    """`ends_at`: null for one that never ends. `event_id`: of the Gridgate event that it represents, if any.

    `flexibility_kw`: the shed capability of its VENs when it was created; null unless it requests a part of
    it.
    """

    program_id: str
    ends_at: Utc = pa.Field(nullable=True)
    event_id: str = pa.Field(nullable=True)
    flexibility_kw: float = pa.Field(nullable=True, ge=0)


class OpenadrReportFrame(OpenadrObjectFrame):
    """`event_id`: the object id of its event, as everywhere in OpenADR."""

    program_id: str
    event_id: str
    client_name: str


class OpenadrSubscriptionFrame(OpenadrObjectFrame):
    """`objects`: the types of object in any of its operations; `program_id`: null for all programs.

    `reads_all`: its client might read all objects when it subscribed.
    """

    program_id: str = pa.Field(nullable=True)
    client_name: str
    objects: Texts
    reads_all: bool


class OpenadrVenFrame(OpenadrObjectFrame):
    """`ven_id`: the Gridgate VEN that it represents. `is_registered_here`: its enrolment registered it."""

    ven_name: str
    ven_id: str
    is_registered_here: bool


class OpenadrResourceFrame(OpenadrObjectFrame):
    """`load_id`: the Gridgate load that it represents."""

    ven_object_id: str
    resource_name: str
    load_id: str


class ReportInboxFrame(Frame):
    """Reports that serving has accepted, until ingest has stored their measurements.

    `body`: the report as received; `vens`: a JSON array of `schemas.openadr.ReportingVen` at that time.
    """

    inbox_id: int
    client_id: str
    vens: str
    body: str
    received_at: Utc


class OpenadrMessageFrame(Frame):
    """The outbox of notifications for the broker, in order of their ids, each for all of its topics."""

    message_id: int
    topics: Texts
    payload: str
    created_at: Utc
