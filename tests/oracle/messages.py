"""Believable contract traffic, with everything in it that the contract allows and much that it refuses.

`random_traffic(seed, n)` is plain `random`, for long runs; `traffic()` is the same generator driven by
hypothesis, which shrinks. Both are lists of `Published`, in the order of arrival.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any, NamedTuple

from hypothesis import strategies as st

JsonObject = dict[str, Any]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
MIDNIGHT_STEP_S = 86_400
ANCHOR_STEP_S = 6 * 3600
BORDER_STEP_S = 300
_CEST = timezone(timedelta(hours=2))


class Published(NamedTuple):
    topic: str
    payload: bytes


@dataclass(frozen=True)
class Window:
    """Device times fall into it, both ends included; outliers are one to five weeks older."""

    start: datetime = datetime(2024, 7, 7, 18, tzinfo=UTC)
    end: datetime = datetime(2024, 7, 10, 18, tzinfo=UTC)
    outliers: bool = True


@dataclass(frozen=True)
class Mix:
    """How often each kind of message comes, relative to the others."""

    telemetry: float = 62
    snapshot: float = 12
    status: float = 6
    conflict: float = 6
    duplicate: float = 8
    broken: float = 6

    def weights(self) -> tuple[float, ...]:
        return (self.telemetry, self.snapshot, self.status, self.conflict, self.duplicate, self.broken)


@dataclass(frozen=True)
class Setting:
    """The sender, time and subject of a message."""

    vens: int = 4
    window: Window = Window()
    mix: Mix = Mix()


DEFAULT = Setting()


@dataclass(frozen=True)
class Load:
    id: str
    type: str | None
    in_telemetry: bool = True


@dataclass(frozen=True)
class Sent:
    """A message with what it is about, so that later ones can repeat or contradict it."""

    kind: str
    ven_id: str
    at: datetime
    published: Published


# VENs take these in turn. The same load id in several VENs is on purpose; so are the capitals (sorted first).
PROFILES = (
    (
        Load("hvac1", "hvac"),
        Load("ev1", "ev"),
        Load("pv1", "solar"),
        Load("shed-door", "door", in_telemetry=False),
    ),
    (Load("hvac1", "hvac"), Load("battery-1", "battery"), Load("Pool", "pool_heater")),
    (),  # reports no loads
    (Load("ev1", "EV"), Load("misc", None), Load("pv_2", "solar")),
)
SNAPSHOTS_ONLY = "ven-snapshots-only"
STATUS_ONLY = "ven-status-only"
QUIET_SHARE = 0.08


def random_traffic(
    seed: int, n: int, setting: Setting = DEFAULT, *, shuffled: bool = False
) -> list[Published]:
    """`n` messages, the same for the same arguments; in the order of device time plus a random delay,
    or (`shuffled`) in no order at all.
    """
    rnd = Random(seed)
    sent: list[Sent] = []
    for _ in range(n):
        sent.append(next_message(rnd, setting, sent))
    if shuffled:
        rnd.shuffle(sent)
    else:
        sent.sort(key=lambda message: message.at + delay(rnd))
    return [message.published for message in sent]


@st.composite
def traffic(
    draw: st.DrawFn,
    min_size: int = 0,
    max_size: int = 30,
    setting: Setting = DEFAULT,
    *,
    shrink_messages: bool = True,
) -> list[Published]:
    """The same traffic as hypothesis examples, in an arbitrary order of arrival.

    Without `shrink_messages` an example shrinks to fewer messages, but not to simpler ones: far fewer
    draws and attempts, for tests in which one attempt is dear, such as those with a database.
    """
    sent: list[Sent] = []
    for _ in range(draw(st.integers(min_size, max_size))):
        if shrink_messages:
            rnd = draw(st.randoms(use_true_random=False))
        else:
            rnd = Random(draw(st.integers(0, 2**32 - 1)))
        sent.append(next_message(rnd, setting, sent))
    return draw(st.permutations([message.published for message in sent]))


@st.composite
def instants(draw: st.DrawFn, window: Window = DEFAULT.window) -> datetime:
    """Times such as messages bear: good `start`, `end` and `now` parameters."""
    return pick_instant(draw(st.randoms(use_true_random=False)), window)


def next_message(rnd: Random, setting: Setting, earlier: list[Sent]) -> Sent:
    makers = (_new_telemetry, _new_snapshot, _new_status, _conflict, _duplicate, _broken)
    maker = rnd.choices(makers, weights=setting.mix.weights())[0]
    return maker(rnd, setting, earlier)


def delay(rnd: Random) -> timedelta:
    """Most are prompt, some minutes late, hours (across midnight), days, weeks."""
    longest_s = rnd.choices((3, 600, 6 * 3600, 3 * 86_400, 40 * 86_400), weights=(66, 12, 10, 8, 4))[0]
    return timedelta(seconds=rnd.uniform(0, longest_s))


# Kinds of message


def _new_telemetry(rnd: Random, setting: Setting, earlier: list[Sent]) -> Sent:
    del earlier
    ven_id = _speaking_ven(rnd, setting)
    return _telemetry(rnd, ven_id, pick_instant(rnd, setting.window))


def _new_snapshot(rnd: Random, setting: Setting, earlier: list[Sent]) -> Sent:
    """Often with the very timestamp of a telemetry message."""
    about = [sent for sent in earlier if sent.kind == "telemetry"]
    if about and _chance(rnd, 0.6):
        twin = rnd.choice(about)
        return _snapshot(rnd, twin.ven_id, twin.at)
    quiet = _chance(rnd, QUIET_SHARE)
    ven_id = SNAPSHOTS_ONLY if quiet else _speaking_ven(rnd, setting)
    return _snapshot(rnd, ven_id, pick_instant(rnd, setting.window))


def _new_status(rnd: Random, setting: Setting, earlier: list[Sent]) -> Sent:
    del earlier
    quiet = _chance(rnd, QUIET_SHARE)
    ven_id = STATUS_ONLY if quiet else _speaking_ven(rnd, setting)
    return _status(rnd, ven_id, pick_instant(rnd, setting.window))


def _conflict(rnd: Random, setting: Setting, earlier: list[Sent]) -> Sent:
    """The VEN and the timestamp of an earlier message, other values; which arrives first is random."""
    first = _one_of(rnd, earlier, ("telemetry", "snapshot", "status"))
    if first is None:
        return _new_telemetry(rnd, setting, earlier)
    if first.kind == "snapshot":
        return _snapshot(rnd, first.ven_id, first.at)
    if first.kind == "status":
        return _status(rnd, first.ven_id, first.at)
    return _telemetry(rnd, first.ven_id, first.at)


def _duplicate(rnd: Random, setting: Setting, earlier: list[Sent]) -> Sent:
    """The same bytes again; telemetry now and then on the other generation's topic."""
    first = _one_of(rnd, earlier, ("telemetry", "snapshot", "status", "broken"))
    if first is None:
        return _new_telemetry(rnd, setting, earlier)
    topic, payload = first.published
    if first.kind == "telemetry" and b'"venId"' in payload and _chance(rnd, 0.2):
        shared = topic == "volttron/metering"
        topic = f"oadr/meter/{first.ven_id}" if shared else "volttron/metering"
    return Sent(first.kind, first.ven_id, first.at, Published(topic, payload))


def _one_of(rnd: Random, earlier: list[Sent], kinds: tuple[str, ...]) -> Sent | None:
    candidates = [sent for sent in earlier if sent.kind in kinds]
    return rnd.choice(candidates) if candidates else None


# Telemetry


def _telemetry(rnd: Random, ven_id: str, at: datetime) -> Sent:
    topic = rnd.choice((f"oadr/meter/{ven_id}", "volttron/metering"))
    said: JsonObject = {"venId": ven_id, "timestamp": encode_instant(rnd, at)}
    if topic != "volttron/metering" and _chance(rnd, 0.2):
        del said["venId"]
    said |= _panel(rnd) | _extras(rnd)
    entries = _telemetry_entries(rnd, ven_id)
    if entries:
        said["loads"] = entries
    elif _chance(rnd, 0.3):
        said["loads"] = rnd.choice(([], None))
    return Sent("telemetry", ven_id, at, Published(topic, _json(said)))


def _panel(rnd: Random) -> JsonObject:
    """New names, old names, both (the new one counts), nulls, and silence."""
    said: JsonObject = {}
    shape = rnd.choices(("new", "old", "both", "null", "silent"), weights=(76, 12, 4, 4, 4))[0]
    if shape in ("new", "both"):
        said["usedPowerKw"] = _power(rnd)
    if shape in ("old", "both"):
        said["power_kw"] = _power(rnd)
    if shape == "null":
        said["usedPowerKw"] = None
    shape = rnd.choices(("new", "old", "both", "null", "silent"), weights=(48, 12, 4, 8, 28))[0]
    if shape in ("new", "both"):
        said["shedPowerKw"] = _positive_power(rnd)
    if shape in ("old", "both"):
        said["shed_kw"] = _positive_power(rnd)
    if shape == "null":
        said["shedPowerKw"] = None
    return said


def _extras(rnd: Random) -> JsonObject:
    """Fields that answers do not use, and unknown ones."""
    possible: JsonObject = {
        "schemaVersion": "1.0",
        "requestedReductionKw": rnd.choice((None, 0, 1.5)),
        "eventId": rnd.choice((None, "evt-3", "evt-never-heard-of")),
        "baselinePowerKw": rnd.choice((None, 5, 4.75)),
        rnd.choice(("batterySoc", "batterySOC", "battery_soc")): rnd.choice((None, 0.54, 1, 87)),
        "voltage_v": 239.6,
        "circuits": [{"breaker": 1, "current_a": 4.2}, {"breaker": 2, "note": "Küche"}],
        "panel": {"rating_a": 200, "loads": "not what you think"},
    }
    return {key: value for key, value in possible.items() if _chance(rnd, 0.2)}


def _telemetry_entries(rnd: Random, ven_id: str) -> list[Any]:
    entries: list[Any] = []
    absent = []
    for load in profile(ven_id):
        if load.in_telemetry and _chance(rnd, 0.8):
            entries.append(_minimal_entry(rnd, load) if _chance(rnd, 0.6) else _full_entry(rnd, load))
        else:
            absent.append(load)
    if entries and _chance(rnd, 0.06):
        entries.append(_repeated_entry(rnd, entries))
    if entries and _chance(rnd, 0.08):
        bad = _bad_entry(rnd, absent[0].id if absent else "never-seen")
        entries.insert(rnd.randint(0, len(entries)), bad)
    return entries


def _minimal_entry(rnd: Random, load: Load) -> JsonObject:
    return {rnd.choice(("id", "loadId")): load.id, "currentPowerKw": _power(rnd)}


def _full_entry(rnd: Random, load: Load) -> JsonObject:
    """Each field may be missing or null: then the last message that had it supplies it."""
    moved = _chance(rnd, 0.05)  # a load may change its type
    possible: JsonObject = {
        "name": rnd.choice((f"The {load.id}", "Wärmepumpe", "unit 7")),
        "type": "generic" if moved and load.type else load.type,
        "currentPowerKw": _power(rnd),
        "shedPowerKw": _positive_power(rnd),
        "capacityKw": _rating(rnd),
        "shedCapabilityKw": _rating(rnd),
        "enabled": _chance(rnd, 0.6),
        "priority": rnd.randint(1, 9),
        "vendor": {"model": "X-1"},
    }
    said: JsonObject = {rnd.choice(("id", "loadId")): load.id}
    for key, value in possible.items():
        fate = rnd.choices(("said", "missing", "null"), weights=(60, 30, 10))[0]
        if fate != "missing":
            said[key] = value if fate == "said" else None
    return said


def _repeated_entry(rnd: Random, entries: list[Any]) -> JsonObject:
    """A load twice in a message: its first entry stands."""
    first = rnd.choice(entries)
    return {"id": first.get("id") or first["loadId"], "currentPowerKw": _power(rnd), "capacityKw": 99}


def _bad_entry(rnd: Random, load_id: str) -> Any:
    """Refused alone, or stored without a field; its load appears in no other entry of the message."""
    return rnd.choice(
        (
            "hvac1",
            5,
            None,
            [],
            {},
            {"currentPowerKw": 1.5},
            {"id": "", "currentPowerKw": 1.5},
            {"id": 7, "currentPowerKw": 1.5},
            {"id": "x" * 256, "currentPowerKw": 1.5},
            {"loadId": "be\u0007ll", "currentPowerKw": 1.5},
            {"id": load_id, "currentPowerKw": "1.5"},
            {"id": load_id, "currentPowerKw": True},
            {"id": load_id, "currentPowerKw": 1.5, "shedPowerKw": {}},
            {"id": load_id, "currentPowerKw": 1.5, "capacityKw": [3]},
            {"id": load_id, "currentPowerKw": 1.5, "shedCapabilityKw": "much"},
            {"id": load_id, "currentPowerKw": 1.5, "enabled": "yes"},
            {"id": load_id, "currentPowerKw": 1.5, "enabled": 1},
            {"id": load_id, "currentPowerKw": 1.5, "priority": "high"},
            {"id": load_id, "currentPowerKw": 1.5, "priority": 1.5},
            {"id": load_id, "currentPowerKw": 1.5, "priority": 2.0},
            {"id": load_id + " ", "currentPowerKw": 1.5},
            {"id": "\u202e" + load_id, "currentPowerKw": 1.5},
            {"id": load_id, "currentPowerKw": 1.5, "type": 3},
            {"id": load_id, "currentPowerKw": 1.5, "name": ["a"]},
        )
    )


# Load snapshots and statuses


def _snapshot(rnd: Random, ven_id: str, at: datetime) -> Sent:
    entries: list[Any] = [_full_entry(rnd, load) for load in profile(ven_id) if _chance(rnd, 0.85)]
    if entries and _chance(rnd, 0.05):
        entries.insert(0, _bad_entry(rnd, "never-seen"))
    said = {"schemaVersion": "1.0", "venId": ven_id, "timestamp": encode_instant(rnd, at), "loads": entries}
    return Sent("snapshot", ven_id, at, Published(f"ven/loads/{ven_id}", _json(said)))


def _status(rnd: Random, ven_id: str, at: datetime) -> Sent:
    word = rnd.choices(("online", "offline", "maintenance", "charging"), weights=(50, 30, 15, 5))[0]
    said: JsonObject = {
        "venId": ven_id,
        "status": _respelled(rnd, word),
        "timestamp": encode_instant(rnd, at),
    }
    if _chance(rnd, 0.3):
        said["details"] = {"reason": "firmware", "rssi": -61}
    return Sent("status", ven_id, at, Published(f"ven/status/{ven_id}", _json(said)))


def _respelled(rnd: Random, word: str) -> Any:
    """Words of status count in any case and with white space around; booleans are words too."""
    spellings: list[Any] = [word, word, word, word.title(), f" {word.upper()}\n"]
    spellings += {"online": [True, "true"], "offline": [False, "False"]}.get(word, [])
    return rnd.choice(spellings)


# Broken messages: each would be believed if the one thing wrong with it went unnoticed


def _broken(rnd: Random, setting: Setting, earlier: list[Sent]) -> Sent:
    del earlier
    ven_id = _speaking_ven(rnd, setting)
    at = pick_instant(rnd, setting.window)
    breaker = rnd.choice((_unreadable, _wrong_number, _wrong_timestamp, _wrong_ven, _wrong_on_other_topics))
    good: JsonObject = {"venId": ven_id, "timestamp": encode_instant(rnd, at), "usedPowerKw": 17.5}
    return Sent("broken", ven_id, at, breaker(rnd, ven_id, good))


def _unreadable(rnd: Random, ven_id: str, good: JsonObject) -> Published:
    whole = _json(good)
    payload = rnd.choice(
        (b"", b"not json", b"[]", b"null", b"42", b'"online"', b"\xff\xfe\x00", whole[:-1], whole + b"}")
    )
    return Published(rnd.choice((f"oadr/meter/{ven_id}", "volttron/metering")), payload)


def _wrong_number(rnd: Random, ven_id: str, good: JsonObject) -> Published:
    new = ("usedPowerKw", "shedPowerKw", "requestedReductionKw", "baselinePowerKw", "batterySoc")
    old = ("power_kw", "shed_kw", "batterySOC", "battery_soc")
    wrongs: tuple[Any, ...] = ("4.1", "", True, False, float("nan"), float("inf"), [4.1], {"kw": 4.1})
    key = rnd.choice(new + old)
    wrong: Any = rnd.choice(wrongs)
    return Published(f"oadr/meter/{ven_id}", _json(good | {key: wrong}))


def _wrong_timestamp(rnd: Random, ven_id: str, good: JsonObject) -> Published:
    wrongs: tuple[Any, ...] = (
        None,
        "",
        "yesterday",
        "2024-07-10T25:00:00Z",
        True,
        [1720623600],
        {},
        "missing",
    )
    wrong: Any = rnd.choice(wrongs)
    said = good | {"timestamp": wrong}
    if wrong == "missing":
        del said["timestamp"]
    return Published(rnd.choice((f"oadr/meter/{ven_id}", "volttron/metering")), _json(said))


def _wrong_ven(rnd: Random, ven_id: str, good: JsonObject) -> Published:
    nameless = {key: value for key, value in good.items() if key != "venId"}
    return rnd.choice(
        (
            Published("volttron/metering", _json(nameless)),
            Published("volttron/metering", _json(good | {"venId": None})),
            Published("volttron/metering", _json(good | {"venId": ""})),
            Published("volttron/metering", _json(good | {"venId": 7})),
            Published("volttron/metering", _json(good | {"venId": "v" * 256})),
            Published("volttron/metering", _json(good | {"venId": "ven\n1"})),
            Published("volttron/metering", _json(good | {"venId": "ven-\u0000"})),
            Published(f"oadr/meter/{ven_id}", _json(good | {"venId": ""})),
            Published(f"oadr/meter/{ven_id}", _json(good | {"venId": "ven-other"})),
        )
    )


def _wrong_on_other_topics(rnd: Random, ven_id: str, good: JsonObject) -> Published:
    loads, status = f"ven/loads/{ven_id}", f"ven/status/{ven_id}"
    described = good | {"loads": [{"id": "hvac1", "capacityKw": 19.5}]}
    return rnd.choice(
        (
            Published(loads, _json(described | {"venId": "ven-other"})),
            Published(loads, _json(described | {"timestamp": "soon"})),
            Published(loads, _json(described)[:-1]),
            Published(status, _json(good | {"status": "offline", "venId": "ven-other"})),
            Published(status, _json(good | {"status": "offline", "timestamp": "soon"})),
            Published(status, _json(good | {"status": 3})),
            Published(status, _json(good)),
        )
    )


# Who and when


def profile(ven_id: str) -> tuple[Load, ...]:
    """The loads of a VEN: the same for the same id, always."""
    number = ven_id.removeprefix("ven-")
    return PROFILES[(int(number) - 1) % len(PROFILES)] if number.isdigit() else PROFILES[0]


def _speaking_ven(rnd: Random, setting: Setting) -> str:
    return f"ven-{rnd.randint(1, setting.vens)}"


def pick_instant(rnd: Random, window: Window) -> datetime:
    """Close together (so that slots fill and times collide), on or beside borders, anywhere, weeks ago."""
    picks: tuple[Callable[[Random, Window], datetime], ...] = (
        _clustered,
        _on_border,
        _near_border,
        _anywhere,
    )
    at = rnd.choices(picks, weights=(58, 18, 9, 15))[0](rnd, window)
    at = min(max(at, window.start), window.end)
    if window.outliers and _chance(rnd, 0.04):
        return at - (window.end - window.start) - timedelta(days=rnd.randint(7, 35))
    return at


def _clustered(rnd: Random, window: Window) -> datetime:
    """Half-minute reports in the hour after an anchor, such as midnight."""
    return _multiple(rnd, window, ANCHOR_STEP_S) + timedelta(seconds=30 * rnd.randrange(120))


def _on_border(rnd: Random, window: Window) -> datetime:
    return _multiple(rnd, window, BORDER_STEP_S)


def _near_border(rnd: Random, window: Window) -> datetime:
    step_s = rnd.choice((MIDNIGHT_STEP_S, ANCHOR_STEP_S, BORDER_STEP_S))
    beside = rnd.choice((-MICROSECOND, MICROSECOND, timedelta(seconds=-1), timedelta(milliseconds=-250)))
    return _multiple(rnd, window, step_s) + beside


def _anywhere(rnd: Random, window: Window) -> datetime:
    """To the microsecond."""
    return window.start + rnd.randint(0, (window.end - window.start) // MICROSECOND) * MICROSECOND


def _multiple(rnd: Random, window: Window, step_s: int) -> datetime:
    """A whole number of steps since the epoch; the window's start when it holds none."""
    step = timedelta(seconds=step_s)
    first, last = -((EPOCH - window.start) // step), (window.end - EPOCH) // step
    return EPOCH + rnd.randint(first, last) * step if first <= last else window.start


def encode_instant(rnd: Random, at: datetime) -> int | float | str:
    """One of the spellings that the contract allows, all of the very same microsecond."""
    spellings: list[int | float | str] = [
        at.timestamp(),
        at.isoformat(),
        at.isoformat().replace("+00:00", "Z"),
        at.replace(tzinfo=None).isoformat(),
        at.astimezone(_CEST).isoformat(),
    ]
    if at.microsecond == 0:
        spellings += [int(at.timestamp()), int(at.timestamp()), at.isoformat(timespec="milliseconds")]
    return rnd.choice(spellings)


def _chance(rnd: Random, probability: float) -> bool:
    """False for the smallest draw, so that hypothesis shrinks towards messages without the special."""
    return rnd.random() >= 1 - probability


def _power(rnd: Random) -> float:
    """Within 20 kW either way, at most 3 decimals; now and then an integer or zero."""
    if _chance(rnd, 0.1):
        return rnd.randint(-20, 20)
    low = -20_000 if _chance(rnd, 0.25) else 0
    return rnd.randint(low, 20_000) / 1000


def _rating(rnd: Random) -> float:
    """Some VENs give the ratings of what generates a minus; it counts as 0."""
    return -_positive_power(rnd) if _chance(rnd, 0.1) else _positive_power(rnd)


def _positive_power(rnd: Random) -> float:
    return rnd.randint(0, 8) if _chance(rnd, 0.2) else rnd.randint(0, 8_000) / 1000


def _json(said: Any) -> bytes:
    return json.dumps(said, ensure_ascii=False).encode()
