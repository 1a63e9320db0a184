"""The forms of a message between broker and database: received, then decoded or rejected."""

from datetime import datetime

from msgspec import Struct

from ingest.storing.rows import Row

LONGEST_DETAIL = 1_000


class Received(Struct, frozen=True, gc=False, array_like=True):
    """A message as received; `delivery` identifies it in the acknowledgement to the broker.

    A retained one is not live: the broker had stored it before we subscribed.
    """

    topic: str
    payload: bytes
    received_at: datetime
    delivery: tuple[int, int] = (0, 0)
    is_retained: bool = False


class RejectedError(Exception):
    """A message, or one entry of it, is rejected: a reason, by which it is counted, and a detail."""

    def __init__(self, reason: str, detail: str) -> None:
        detail = detail[:LONGEST_DETAIL]
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Rejection(Struct, frozen=True, gc=False):
    """A row of `rejected_messages`."""

    topic: str
    payload: bytes
    reason: str
    detail: str
    received_at: datetime
    ven_id: str | None = None
    ts: datetime | None = None


class Source(Struct, frozen=True, gc=False):
    """The VEN, the device time and the message of a value."""

    message: Received
    ven_id: str
    ts: datetime

    def rejection(self, payload: bytes, problem: RejectedError) -> Rejection:
        """Return the record of a rejected entry whose message is stored without it."""
        topic, received_at = self.message.topic, self.message.received_at
        return Rejection(topic, payload, problem.reason, problem.detail, received_at, self.ven_id, self.ts)


class Report(Struct, frozen=True, gc=False):
    """One telemetry message; `row` is in the order of `queries.TELEMETRY`, `samples` by load."""

    source: Source
    row: Row
    samples: dict[str, Row]
    rejections: list[Rejection]

    @property
    def content(self) -> bytes:
        return self.source.message.payload


class Description(Struct, frozen=True, gc=False):
    """One load snapshot; `rows` by load id; `understands`: a JSON array, None if absent."""

    source: Source
    rows: dict[str, Row]
    rejections: list[Rejection]
    understands: str | None = None


class Status(Struct, frozen=True, gc=False):
    """One status transition; `row` is in the order of `queries.STATUSES`, `content` is JSON."""

    source: Source
    row: Row
    content: str


class Answer(Struct, frozen=True, gc=False):
    """One acknowledgement of a command; `content` is the whole message, as JSON on one line."""

    message: Received
    ven_id: str
    command_id: str
    is_accepted: bool
    content: str
    understands: str | None = None

    @property
    def received_at(self) -> datetime:
        return self.message.received_at


Decoded = Report | Description | Status | Answer
