"""Presence of one VEN by a plain loop, as docs/ven-contract.md words it, from what it sends."""

from datetime import datetime, timedelta
from itertools import pairwise

TICK = timedelta(microseconds=1)
PROMPT = timedelta(seconds=10)
DAY = timedelta(days=1)
LAST = 5

Word = tuple[str, str | None]


class PresenceLoop:
    """Feed it every report and status when it is received, and each look at presence; then ask."""

    def __init__(self, intervals: float, at_least_s: float) -> None:
        self._intervals = intervals
        self._at_least = timedelta(seconds=at_least_s)
        self._received_at: dict[datetime, datetime] = {}  # by device time: the first with one stands
        self._statuses: dict[datetime, tuple[Word, datetime]] = {}
        self._heard_at: datetime | None = None
        self._has_new_skewed = False

    def report(self, received_at: datetime, device_time: datetime) -> None:
        if device_time in self._received_at:
            return
        self._received_at[device_time] = received_at
        if abs(received_at - device_time) <= PROMPT:
            self._hear(received_at)
        else:
            self._has_new_skewed = True

    def status(self, word: str, received_at: datetime, device_time: datetime) -> None:
        self._statuses.setdefault(device_time, ((word, None), received_at))

    def transitions(self) -> list[Word]:
        return [self._statuses[ts][0] for ts in sorted(self._statuses)]

    def judge(self, now: datetime) -> None:
        if self._has_new_skewed:
            self._judge_skewed(now)
        ts = max(self._statuses, default=None)
        (word, _), received_at = self._statuses[ts] if ts is not None else ((None, None), None)
        if word == "maintenance":
            return
        if word != "online" and self._was_heard_after(ts, received_at, now):
            assert self._heard_at is not None
            reason = "heard again" if word == "offline" else "heard"
            self._change("online", reason, self._heard_at, now)
        elif word != "offline" and self._is_silent(ts, received_at, now):
            self._change("offline", "never heard" if self._heard_at is None else "silent", now, now)

    def _judge_skewed(self, now: datetime) -> None:
        """Near enough for its own presence time; or the third in a row whose offset agrees."""
        self._has_new_skewed = False
        presence_time = self._presence_time(now)
        skewed = self._last_skewed()
        for place, (received_at, ts) in enumerate(skewed):
            is_near = abs(received_at - ts) <= presence_time
            if is_near or (place >= 2 and self._agree(skewed[place - 2 : place + 1])):
                self._hear(received_at)

    def _agree(self, three: list[tuple[datetime, datetime]]) -> bool:
        times = [ts for _, ts in three]
        if not times[0] < times[1] < times[2]:
            return False
        offsets = [received_at - ts for received_at, ts in three]
        spread = max(offsets) - min(offsets)
        return spread <= (times[2] - times[0]) / 4 and spread <= self._at_least

    def _was_heard_after(self, ts: datetime | None, received_at: datetime | None, now: datetime) -> bool:
        if self._heard_at is None or now - self._heard_at > self._presence_time(now):
            return False
        if ts is None or received_at is None:
            return True
        # By receipt; but a status whose time has come is not looked up for what was heard before that time.
        return self._heard_at > received_at and (self._heard_at > ts or ts > now)

    def _is_silent(self, ts: datetime | None, received_at: datetime | None, now: datetime) -> bool:
        last_words = [] if self._heard_at is None else [self._heard_at]
        if ts is not None and received_at is not None:
            last_words.append(min(ts, received_at))
        return bool(last_words) and now - max(last_words) > self._presence_time(now)

    def _presence_time(self, now: datetime) -> timedelta:
        recent = sorted(ts for ts in self._received_at if ts >= now - DAY)[-LAST:]
        prompt = [ts for ts in recent if abs(self._received_at[ts] - ts) <= PROMPT]
        skewed = sorted(ts for _, ts in self._last_skewed())
        if len(prompt) >= 2:
            interval = _median(_distances(prompt))
        elif len(skewed) >= 3:
            interval = min(_distances(skewed))
        else:
            return self._at_least
        return max(self._at_least, interval * self._intervals)

    def _last_skewed(self) -> list[tuple[datetime, datetime]]:
        pairs = ((received_at, ts) for ts, received_at in self._received_at.items())
        return sorted(pair for pair in pairs if abs(pair[0] - pair[1]) > PROMPT)[-LAST:]

    def _hear(self, received_at: datetime) -> None:
        self._heard_at = received_at if self._heard_at is None else max(self._heard_at, received_at)

    def _change(self, word: str, reason: str, at: datetime, now: datetime) -> None:
        last = max(self._statuses, default=None)
        ts = at if last is None else max(at, last + TICK)
        self._statuses.setdefault(ts, ((word, reason), now))


def _distances(times: list[datetime]) -> list[timedelta]:
    return [later - earlier for earlier, later in pairwise(times)]


def _median(lengths: list[timedelta]) -> timedelta:
    ordered, half = sorted(lengths), len(lengths) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
