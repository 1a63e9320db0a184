"""The messages since the last commit, decoded, with each natural key once."""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from itertools import chain
from typing import Any, TypeVar

import structlog

from ingest.decoding.decoder import decode
from ingest.decoding.messages import (
    Answer,
    Description,
    Received,
    RejectedError,
    Rejection,
    Report,
    Source,
    Status,
)
from ingest.storing.quotas import Limits, Quotas
from ingest.storing.rows import Row
from schemas.devices.content import same_content

C = TypeVar("C", Report, Status)
Key = tuple[str, datetime]
LoadKey = tuple[str, datetime, str]


FAULT = "fault_of_ours"
"""Reason for rejecting a message at which Gridgate itself fails, so that it does not stop the others."""


class Batch:
    """Decoded messages by natural key. The first with a key counts; another with other content is rejected.

    `vens` has every VEN that an accepted message named, and when it was first heard; `keyed` is the
    number of reports, statuses and answers, duplicates and conflicts among them. `late_samples` belong to
    reports that were stored without them. `abilities`: time and JSON array of the newest abilities that each
    VEN reported. `size_bytes` is the size of all payloads.
    """

    def __init__(self, quotas: Quotas | None = None) -> None:
        self._quotas = quotas or Quotas()
        self.received: list[Received] = []
        self.vens: dict[str, datetime] = {}
        self.reports: dict[Key, Report] = {}
        self.statuses: dict[Key, Status] = {}
        self.described: dict[LoadKey, tuple[Source, Row]] = {}
        self.late_samples: dict[LoadKey, tuple[Source, Row]] = {}
        self.answers: dict[tuple[str, str], Answer] = {}
        self.abilities: dict[str, tuple[datetime, str]] = {}
        self.rejections: list[Rejection] = []
        self.keyed = 0
        self.size_bytes = 0

    @classmethod
    def of(cls, messages: Iterable[Received], max_ahead: timedelta, quotas: Quotas | None = None) -> "Batch":
        batch = cls(quotas)
        batch.extend(messages, max_ahead)
        return batch

    def newest(self) -> datetime | None:
        """The newest device time of the reports."""
        return max((ts for _, ts in self.reports), default=None)

    @classmethod
    def rejecting(cls, message: Received, reason: str, detail: str) -> "Batch":
        """Return a batch that only rejects one message."""
        batch = cls()
        batch.received.append(message)
        batch.reject(message, RejectedError(reason, detail))
        return batch

    def reject(self, message: Received, problem: RejectedError) -> None:
        self.rejections.append(
            Rejection(message.topic, message.payload, problem.reason, problem.detail, message.received_at)
        )

    def reject_conflict(self, source: Source, load_id: str | None = None) -> None:
        """Reject a message, or a load's description, whose key is stored with other content."""
        what = source.ven_id if load_id is None else f"{load_id} of {source.ven_id}"
        reason = "conflict" if load_id is None else "load_conflict"
        problem = RejectedError(reason, f"{what} at {source.ts} is stored already with other content")
        self.rejections.append(source.rejection(source.message.payload, problem))

    def reject_answer(self, answer: Answer) -> None:
        """Reject an acknowledgement of a command that was never sent to this VEN."""
        detail = f"{answer.ven_id} was never sent a command {answer.command_id!r:.100}"
        self.reject(answer.message, RejectedError("unknown_command", detail))

    def reject_vens(self, ven_ids: Iterable[str], problem: RejectedError) -> None:
        """Remove everything that some VENs have sent, and reject their messages."""
        rejected = set(ven_ids)
        sources = [
            *(report.source for report in self.reports.values()),
            *(status.source for status in self.statuses.values()),
            *(source for source, _ in chain(self.described.values(), self.late_samples.values())),
        ]
        messages = {id(each.message): each.message for each in sources if each.ven_id in rejected}
        for message in messages.values():
            self.reject(message, problem)
        self.keyed -= sum(key[0] in rejected for key in chain(self.reports, self.statuses))
        for rows in (self.reports, self.statuses, self.described, self.late_samples):
            for key in [key for key in rows if key[0] in rejected]:
                del rows[key]  # type: ignore[arg-type]
        for ven_id in rejected:
            self.vens.pop(ven_id, None)
            self.abilities.pop(ven_id, None)

    @property
    def limits(self) -> Limits:
        return self._quotas.limits

    def days(self) -> set[date]:
        """UTC days of the rows that go to partitioned tables."""
        return {ts.date() for _, ts, *_ in self._partitioned_keys()}

    def _partitioned_keys(self) -> Iterable[tuple[Any, ...]]:
        return chain(self.reports, self.described, self.late_samples)

    def extend(self, messages: Iterable[Received], max_ahead: timedelta) -> None:
        for message in messages:
            self.add(message, max_ahead)

    def add(self, message: Received, max_ahead: timedelta) -> None:
        self.received.append(message)
        self.size_bytes += len(message.payload)
        try:
            decoded = decode(message, max_ahead, self._quotas)
        except RejectedError as problem:
            self.reject(message, problem)
            return
        except Exception as error:  # noqa: BLE001 - of any kind: one message must not stop the others
            structlog.get_logger().exception("decoding_failed", topic=message.topic)
            self.reject(message, RejectedError(FAULT, repr(error)))
            return
        if isinstance(decoded, Answer):
            self._keep_first(decoded)
            self._keep_abilities(decoded.ven_id, decoded.received_at, decoded.understands)
            return
        self.vens.setdefault(decoded.source.ven_id, message.received_at)
        match decoded:
            case Report() as report:
                self._keep(self.reports, report)
            case Status() as status:
                self._keep(self.statuses, status)
            case Description() as description:
                self._describe(description)
                source = description.source
                self._keep_abilities(source.ven_id, source.ts, description.understands)

    def _keep(self, messages: dict[Key, C], new: C) -> None:
        self.keyed += 1
        first = messages.setdefault((new.source.ven_id, new.source.ts), new)
        if first is not new and not same_content(first.content, new.content):
            self.reject_conflict(new.source)

    def _keep_first(self, answer: Answer) -> None:
        """Keep the first acknowledgement: a VEN may send several, say of a redelivered command."""
        self.keyed += 1
        self.answers.setdefault((answer.ven_id, answer.command_id), answer)

    def _keep_abilities(self, ven_id: str, reported_at: datetime, understands: str | None) -> None:
        if understands is not None:
            newest = (reported_at, understands)
            self.abilities[ven_id] = max(newest, self.abilities.get(ven_id, newest))

    def _describe(self, description: Description) -> None:
        source = description.source
        self.rejections += description.rejections
        for load_id, row in description.rows.items():
            _, first = self.described.setdefault((source.ven_id, source.ts, load_id), (source, row))
            if first != row and not _is_same_entry(first, row):
                self.reject_conflict(source, load_id)


def _is_same_entry(one: Row, other: Row) -> bool:
    """Return whether two load entries are equal, but for the formatting of their metadata."""
    *fields, metadata = one
    *other_fields, other_metadata = other
    return fields == other_fields and same_content(metadata or "{}", other_metadata or "{}")
