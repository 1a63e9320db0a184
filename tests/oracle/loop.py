"""The plain loop: every documented answer from the list of distinct accepted messages, and nothing else.

Read it beside docs/backend-api.md. It is slow on purpose: no index, no rollup, no frame; a loop
per sentence. `None` as an answer stands for a 404, a ValueError for a 400.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from tests.oracle.decode import JsonObject, LoadSnapshot, Message, RefusedError, Status, Telemetry, decode
from tests.oracle.messages import Published

Aggregate = Literal["sum", "energy", "mean"]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SLOT_S = 300
SLOTS_PER_HOUR = 12
SLOT = timedelta(seconds=SLOT_S)
TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Sample:
    """One row of a history: `series` is the VEN, or the load, that it belongs to."""

    ven_id: str
    series: str
    at: datetime
    used_kw: float | None
    shed_kw: float | None


@dataclass
class Bucket:
    used: float = 0.0
    shed: float = 0.0
    slots: set[datetime] = field(default_factory=set)


class Oracle:
    """Feed it every message in the order of arrival, then ask."""

    def __init__(self, gone_after: timedelta | None = None) -> None:
        self._gone_after = gone_after  # how far a load may lie behind its VEN before it counts no more
        self._removed_ts: dict[tuple[str, str], datetime] = {}
        self._telemetry: dict[tuple[str, datetime], Telemetry] = {}
        self._snapshot_entries: dict[tuple[str, str, datetime], JsonObject] = {}
        self._statuses: dict[tuple[str, datetime], Status] = {}
        self._vens: set[str] = set()
        self._widths: dict[str, dict[datetime, int]] = {}
        self.refused = 0  # messages that cannot be accepted, at each arrival
        self.conflicts = 0  # telemetry or statuses with the key of an accepted one and other content
        self.refused_entries = 0  # load entries left out of accepted messages
        self.refused_fields = 0  # telemetry panels and load entries stored without some descriptive field
        self.rejected_messages: set[Published] = set()  # refused or in conflict, each once

    @property
    def rejected(self) -> int:
        return self.refused + self.conflicts

    # What arrives

    def receive_all(self, messages: Iterable[Published]) -> None:
        for published in messages:
            self.receive(published)

    def receive(self, published: Published, received_at: datetime | None = None) -> None:
        try:
            message = decode(published, received_at)
        except RefusedError:
            self.refused += 1
            self.rejected_messages.add(published)
            return
        if message is not None and not self._keep(message):
            self.conflicts += 1
            self.rejected_messages.add(published)

    def _keep(self, message: Message) -> bool:
        """Keep what is new; False when it contradicts what arrived before it."""
        self._vens.add(message.ven_id)
        if isinstance(message, Telemetry):
            return self._keep_telemetry(message)
        if isinstance(message, Status):
            first = self._statuses.setdefault((message.ven_id, message.at), message)
            return first.content == message.content
        return self._keep_snapshot(message)

    def _keep_telemetry(self, message: Telemetry) -> bool:
        first = self._telemetry.setdefault((message.ven_id, message.at), message)
        if first is message:
            self.refused_entries += message.refused_entries
            self.refused_fields += message.refused_fields
        return first.content == message.content

    def _keep_snapshot(self, message: LoadSnapshot) -> bool:
        for load_id, entry in message.loads.items():
            self._snapshot_entries.setdefault((message.ven_id, load_id, message.at), entry)
        self.refused_entries += message.refused_entries
        self.refused_fields += message.refused_fields
        return True

    def remove_load(self, ven_id: str, load_id: str) -> datetime:
        """An operator removes it: reports of it up to the VEN's newest device time do not count."""
        newest = max(
            [at for speaker, at in self._telemetry if speaker == ven_id]
            + [at for speaker, _load, at in self._snapshot_entries if speaker == ven_id]
        )
        self._removed_ts[ven_id, load_id] = newest
        return newest

    def set_slot_width(self, ven_id: str, since: datetime, width_s: int) -> None:
        """An operator sets the slot width of a VEN from a half-hour on; later settings are removed."""
        said = self._widths.get(ven_id, {})
        self._widths[ven_id] = {at: width for at, width in said.items() if at < since} | {since: width_s}

    def slot_width_s(self, ven_id: str, at: datetime) -> int:
        width_s = SLOT_S
        for since, width in sorted(self._widths.get(ven_id, {}).items()):
            if since <= at:
                width_s = width
        return width_s

    # What is known

    def known_vens(self) -> set[str]:
        return set(self._vens)

    def known_loads(self) -> set[tuple[str, str]]:
        return set(self._load_states())

    def row_counts(self) -> dict[str, int]:
        """How many rows the raw tables hold, once everything has arrived."""
        samples = 0
        for telemetry in self._telemetry.values():
            samples += len(telemetry.loads)
        return {
            "ven_telemetry": len(self._telemetry),
            "ven_load_samples": samples,
            "ven_statuses": len(self._statuses),
        }

    # Statistics

    def network_stats(self, now: datetime, zone: str = "UTC") -> JsonObject:
        latest = self._latest_telemetry()
        statuses = self._latest_statuses()
        household = 0.0
        for used_kw in self._latest_used().values():
            household += used_kw
        reduction = 0.0
        for telemetry in latest.values():
            reduction += telemetry.shed_kw or 0.0
        return {
            "venCount": len(self._vens),
            "controllablePowerKw": _rounded(self._controllable(statuses)),
            "potentialLoadReductionKw": _rounded(self._potential()),
            "householdUsageKw": _rounded(household),
            "onlineVens": list(statuses.values()).count("online"),
            "currentLoadReductionKw": _rounded(reduction),
            "averageHousePower": _rounded(household / len(latest)) if latest else None,
            "totalHousePowerToday": self._used_energy_today(now, zone),
            "networkEfficiency": None,
        }

    def _controllable(self, statuses: dict[str, str]) -> float:
        """What could be shed right now: not what is offline, in maintenance, or disabled."""
        total = 0.0
        for ven_id, loads in self._loads_by_ven().items():
            if statuses.get(ven_id) in {"offline", "maintenance"}:
                continue
            if not loads:
                total += self._latest_shed(ven_id)
            for load in loads.values():
                if load.get("enabled") is not False:
                    total += _shed_capability(load)
        return total

    def _potential(self) -> float:
        total = 0.0
        for ven_id, loads in self._loads_by_ven().items():
            if not loads:
                total += self._latest_shed(ven_id)
            for load in loads.values():
                total += _shed_capability(load)
        return total

    def _used_energy_today(self, now: datetime, zone: str) -> float | None:
        local, midnight = ZoneInfo(zone), now.replace(second=0, microsecond=0)
        while (midnight - TICK).astimezone(local).date() == now.astimezone(local).date():
            midnight -= timedelta(minutes=1)
        buckets = self._energies(self._panel_samples(), midnight, None, SLOT_S)
        if not buckets:
            return None
        total = 0.0
        for bucket in buckets.values():
            total += bucket.used
        return _rounded(total)

    def load_stats(self) -> list[JsonObject]:
        by_type: dict[str, list[JsonObject]] = {}
        for load in self._current_loads().values():
            by_type.setdefault(load.get("type", "unknown"), []).append(load)
        answer = []
        for load_type, loads in sorted(by_type.items()):
            capacity = shed_capability = usage = 0.0
            for load in loads:
                capacity += _capacity(load)
                shed_capability += _shed_capability(load)
                usage += max(0.0, load.get("currentPowerKw", 0.0))
            answer.append(
                {
                    "type": load_type,
                    "totalCapacityKw": _rounded(capacity),
                    "totalShedCapabilityKw": _rounded(shed_capability),
                    "currentUsageKw": _rounded(usage),
                }
            )
        return answer

    # VENs and loads

    def ven_loads(self, ven_id: str) -> list[JsonObject] | None:
        if ven_id not in self._vens:
            return None
        return [_load_answer(load_id, load) for load_id, load in sorted(self._loads_by_ven()[ven_id].items())]

    def ven_load(self, ven_id: str, load_id: str) -> JsonObject | None:
        load = self._current_loads().get((ven_id, load_id))
        return None if load is None else _load_answer(load_id, load)

    def ven(self, ven_id: str) -> JsonObject | None:
        """As far as messages have it."""
        if ven_id not in self._vens:
            return None
        status = self._latest_statuses().get(ven_id)
        latest = self._latest_telemetry().get(ven_id)
        loads = self._loads_by_ven()[ven_id]
        shed_kw = 0.0 if loads else self._latest_shed(ven_id)
        for load in loads.values():
            if load.get("enabled") is not False:
                shed_kw += _shed_capability(load)
        used_kw = self._latest_used().get(ven_id)
        return {
            "id": ven_id,
            "status": status or "unknown",
            "loads": self.ven_loads(ven_id),
            "metrics": {
                "currentPowerKw": 0.0 if used_kw is None else _rounded(used_kw),
                "shedAvailabilityKw": 0.0 if status in {"offline", "maintenance"} else _rounded(shed_kw),
                "activeEventId": None if latest is None else latest.content.get("eventId"),
                "shedLoadIds": [
                    name for name, load in sorted(loads.items()) if load.get("shedPowerKw", 0.0) > 0
                ],
            },
        }

    # History

    def network_history(
        self,
        start: datetime | None = None,
        end: datetime | None = None,
        granularity_s: int = 300,
        aggregate: Aggregate = "sum",
    ) -> JsonObject:
        return self._history(self._panel_samples(), start, end, granularity_s, aggregate)

    def ven_history(
        self,
        ven_id: str,
        start: datetime | None = None,
        end: datetime | None = None,
        granularity_s: int = 300,
        aggregate: Aggregate = "sum",
    ) -> JsonObject | None:
        if ven_id not in self._vens:
            return None
        samples = [sample for sample in self._panel_samples() if sample.series == ven_id]
        return self._history(samples, start, end, granularity_s, aggregate)

    def load_history(
        self,
        ven_id: str,
        load_id: str,
        start: datetime | None = None,
        end: datetime | None = None,
        granularity_s: int = 300,
        aggregate: Aggregate = "sum",
    ) -> JsonObject | None:
        if (ven_id, load_id) not in self._load_states():
            return None
        return self._history(self._load_samples(ven_id, load_id), start, end, granularity_s, aggregate)

    def _history(
        self,
        samples: list[Sample],
        start: datetime | None,
        end: datetime | None,
        granularity_s: int,
        aggregate: Aggregate,
    ) -> JsonObject:
        if start is not None and end is not None and start > end:
            raise ValueError("start after end")
        if granularity_s < 1 or (aggregate != "sum" and granularity_s % SLOT_S != 0):
            raise ValueError("granularity")
        if aggregate == "sum":
            buckets = _sums(_within(samples, start, end), granularity_s)
        else:
            buckets = self._energies(samples, start, end, granularity_s)
        return {"points": [_point(at, buckets[at], aggregate) for at in sorted(buckets)]}

    def _energies(
        self, samples: list[Sample], start: datetime | None, end: datetime | None, granularity_s: int
    ) -> dict[datetime, Bucket]:
        """kWh: over series and slots, the mean power times 1/12 h; in a wide slot, of all its samples.

        A slot that the range cuts has only the samples inside the range.
        """
        in_slots: dict[tuple[str, datetime], list[Sample]] = {}
        for sample in samples:
            width_s = self.slot_width_s(sample.ven_id, sample.at)
            for number in range(width_s // SLOT_S):
                slot = _floor(sample.at, width_s) + number * SLOT
                in_slots.setdefault((sample.series, slot), []).append(sample)
        buckets: dict[datetime, Bucket] = {}
        for (_series, slot), in_slot in in_slots.items():
            last = slot + SLOT - TICK
            if (start is not None and last < start) or (end is not None and slot > end):
                continue
            is_cut = (start is not None and slot < start) or (end is not None and last > end)
            counted = _within(in_slot, start, end) if is_cut else in_slot
            if not counted:
                continue
            bucket = buckets.setdefault(_floor(slot, granularity_s), Bucket())
            bucket.used += _mean([sample.used_kw for sample in counted]) / SLOTS_PER_HOUR
            bucket.shed += _mean([sample.shed_kw for sample in counted]) / SLOTS_PER_HOUR
            bucket.slots.add(slot)
        return buckets

    # The latest of everything: greatest device time, never the last to arrive

    def _latest_telemetry(self) -> dict[str, Telemetry]:
        latest: dict[str, Telemetry] = {}
        for telemetry in self._oldest_first():
            latest[telemetry.ven_id] = telemetry
        return latest

    def _latest_shed(self, ven_id: str) -> float:
        """Of the latest telemetry alone: missing there means 0, whatever was reported before."""
        latest = self._latest_telemetry().get(ven_id)
        return 0.0 if latest is None else latest.shed_kw or 0.0

    def _latest_used(self) -> dict[str, float]:
        """Of each VEN the last `usedPowerKw` that was reported."""
        latest: dict[str, float] = {}
        for telemetry in self._oldest_first():
            if telemetry.used_kw is not None:
                latest[telemetry.ven_id] = telemetry.used_kw
        return latest

    def _latest_statuses(self) -> dict[str, str]:
        latest: dict[str, str] = {}
        for (ven_id, _at), status in sorted(self._statuses.items(), key=lambda item: item[0]):
            latest[ven_id] = status.status
        return latest

    def _load_states(self) -> dict[tuple[str, str], JsonObject]:
        """Each load's fields, each from the last entry that has it: later entries overwrite earlier ones."""
        entries: list[tuple[datetime, int, str, str, JsonObject]] = []
        for (ven_id, load_id, at), entry in self._snapshot_entries.items():
            entries.append((at, 0, ven_id, load_id, entry))
        for telemetry in self._telemetry.values():
            for load_id, entry in telemetry.loads.items():
                # 1 > 0: at the same time, telemetry has the last word.
                entries.append((telemetry.at, 1, telemetry.ven_id, load_id, entry))
        states: dict[tuple[str, str], JsonObject] = {}
        for _at, _rank, ven_id, load_id, entry in sorted(entries, key=lambda item: item[:2]):
            states.setdefault((ven_id, load_id), {}).update(entry)
        return states

    def _loads_by_ven(self) -> dict[str, dict[str, JsonObject]]:
        """Every known VEN, also those that report no loads."""
        loads: dict[str, dict[str, JsonObject]] = {ven_id: {} for ven_id in self._vens}
        for (ven_id, load_id), load in self._current_loads().items():
            loads[ven_id][load_id] = load
        return loads

    def _current_loads(self) -> dict[tuple[str, str], JsonObject]:
        """Without those that were removed, or that lie too far behind their VEN's newest telemetry."""
        spoken: dict[tuple[str, str], datetime] = {}
        for ven_id, load_id, at in self._snapshot_entries:
            spoken[ven_id, load_id] = max(at, spoken.get((ven_id, load_id), at))
        for telemetry in self._oldest_first():
            for load_id in telemetry.loads:
                key = (telemetry.ven_id, load_id)
                spoken[key] = max(telemetry.at, spoken.get(key, telemetry.at))
        current: dict[tuple[str, str], JsonObject] = {}
        reported = self._latest_telemetry()
        for (ven_id, load_id), load in self._load_states().items():
            at = spoken[ven_id, load_id]
            is_removed = (ven_id, load_id) in self._removed_ts and at <= self._removed_ts[ven_id, load_id]
            is_behind = False
            if self._gone_after is not None and ven_id in reported:
                is_behind = at < reported[ven_id].at - self._gone_after
            if not is_removed and not is_behind:
                current[ven_id, load_id] = load
        return current

    def _oldest_first(self) -> list[Telemetry]:
        return sorted(self._telemetry.values(), key=lambda telemetry: telemetry.at)

    # Samples: telemetry only, a load snapshot adds nothing to any history

    def _panel_samples(self) -> list[Sample]:
        samples = []
        for telemetry in self._oldest_first():
            shed_kw = telemetry.shed_kw or 0.0  # "missing outside an event: 0"
            ven_id = telemetry.ven_id
            samples.append(Sample(ven_id, ven_id, telemetry.at, telemetry.used_kw, shed_kw))
        return samples

    def _load_samples(self, ven_id: str, load_id: str) -> list[Sample]:
        samples = []
        for telemetry in self._oldest_first():
            if telemetry.ven_id == ven_id and load_id in telemetry.loads:
                load = telemetry.loads[load_id]
                used_kw, shed_kw = load.get("currentPowerKw"), load.get("shedPowerKw")
                samples.append(Sample(ven_id, load_id, telemetry.at, used_kw, shed_kw))
        return samples


def _within(samples: list[Sample], start: datetime | None, end: datetime | None) -> list[Sample]:
    """Both ends belong to the range."""
    if start is not None:
        samples = [sample for sample in samples if start <= sample.at]
    if end is not None:
        samples = [sample for sample in samples if sample.at <= end]
    return samples


def _sums(samples: list[Sample], granularity_s: int) -> dict[datetime, Bucket]:
    buckets: dict[datetime, Bucket] = {}
    for sample in samples:
        bucket = buckets.setdefault(_floor(sample.at, granularity_s), Bucket())
        bucket.used += sample.used_kw or 0.0
        bucket.shed += sample.shed_kw or 0.0
    return buckets


def _mean(values: list[float | None]) -> float:
    """Over the values that there are; nothing when there are none."""
    there = [value for value in values if value is not None]
    return sum(there) / len(there) if there else 0.0


def _point(at: datetime, bucket: Bucket, aggregate: Aggregate) -> JsonObject:
    point: JsonObject = {"timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
    if aggregate == "energy":
        return point | {"usedEnergyKwh": _rounded(bucket.used), "shedEnergyKwh": _rounded(bucket.shed)}
    hours = len(bucket.slots) / SLOTS_PER_HOUR if aggregate == "mean" else 1
    return point | {
        "usedPowerKw": _rounded(bucket.used / hours),
        "shedPowerKw": _rounded(bucket.shed / hours),
    }


def _floor(at: datetime, seconds: int) -> datetime:
    """floor(t / granularity) * granularity, in whole microseconds since the Unix epoch."""
    step = timedelta(seconds=seconds)
    return EPOCH + (at - EPOCH) // step * step


def _shed_capability(load: JsonObject) -> float:
    """The reported one; else the load's shed power; else 0. Never below 0."""
    if "shedCapabilityKw" in load:
        return max(0.0, float(load["shedCapabilityKw"]))
    return max(0.0, float(load.get("shedPowerKw", 0.0)))


def _capacity(load: JsonObject) -> float:
    """The reported one; else usage + shed capability. Never below 0."""
    if "capacityKw" in load:
        return max(0.0, float(load["capacityKw"]))
    return max(0.0, float(load.get("currentPowerKw", 0.0)) + _shed_capability(load))


def _load_answer(load_id: str, load: JsonObject) -> JsonObject:
    """Never null: values that were never reported are the placeholders of the contract."""
    return {
        "id": load_id,
        "type": load.get("type") or "unknown",
        "capacityKw": _rounded(_capacity(load)),
        "shedCapabilityKw": _rounded(_shed_capability(load)),
        "currentPowerKw": _rounded(load.get("currentPowerKw") or 0.0),
        "name": load.get("name") or load_id,
    }


def _rounded(value: float) -> float:
    return round(value, 3)
