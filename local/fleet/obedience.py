"""What each command does to a home's orders, and what the home answers. Pure: time is an argument."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from local.fleet.answers import Result
from local.fleet.conduct import Conduct, paced, release_s
from local.fleet.events import Event
from local.fleet.household import Household, Load
from local.fleet.messages import load_entry
from local.fleet.orders import Orders

Obeyed = tuple[Orders, Result]
Form = TypeVar("Form", bound=Struct)


class _SetLoad(Struct, rename="camel"):
    load_id: str
    enabled: bool | UnsetType | None = UNSET
    capacity_kw: float | UnsetType | None = UNSET
    priority: int | UnsetType | None = UNSET


class _ShedLoad(Struct, rename="camel"):
    load_id: str
    reduce_kw: float
    duration_s: float
    event_id: str | None = None


class _ShedPanel(Struct, rename="camel"):
    requested_reduction_kw: float
    duration_s: float
    event_id: str | None = None


class _Join(Struct):
    event_id: str
    requested_kw: float = msgspec.field(name="requestedReductionKw")
    start_ts: float | None = None
    end_ts: float | None = None
    duration_s: float | None = None


class _Restore(Struct):
    event_id: str | None = None


class _Configure(Struct):
    report_interval_seconds: float | UnsetType = UNSET
    target_power_kw: float | UnsetType | None = UNSET


class _Get(Struct):
    what: str


class Telling(Struct, frozen=True):
    """One command to one home: what it was told before, how it behaves, how often it reports."""

    home: Household
    orders: Orders
    data: dict[str, Any]
    now: float
    conduct: Conduct
    interval_s: float


def obey(op: str, telling: Telling) -> Obeyed:
    """The orders from now on, and what to answer."""
    do = _OPS.get(op)
    if do is None:
        return telling.orders, Result("rejected", {"error": f"this VEN does not know {op}"})
    try:
        return do(telling)
    except msgspec.ValidationError as error:
        return telling.orders, Result("error", {"error": f"cannot read data: {error}"})


def _set_load(telling: Telling) -> Obeyed:
    wanted = _read(telling, _SetLoad)
    if _load(telling, wanted.load_id) is None:
        return _no_such_load(telling, wanted.load_id)
    said = {
        name: telling.data[name] for name in ("enabled", "capacityKw", "priority") if name in telling.data
    }
    values = {"enabled": wanted.enabled, "capacity_kw": wanted.capacity_kw, "priority": wanted.priority}
    changes = {name: value for name, value in values.items() if value is not UNSET}
    return telling.orders.with_load(wanted.load_id, changes), Result("success", {"updated": said})


def _shed_load(telling: Telling) -> Obeyed:
    """One load draws at most what it draws now, less the reduction, until then."""
    wanted = _read(telling, _ShedLoad)
    load = _load(telling, wanted.load_id)
    if load is None:
        return _no_such_load(telling, wanted.load_id)
    if not load.enabled:
        return telling.orders, Result("rejected", {"error": f"{load.load_id} may not be controlled now"})
    until = telling.now + wanted.duration_s
    event = Event(wanted.event_id, telling.now, until, wanted.reduce_kw, load.load_id)
    reading = telling.home.read(telling.now, telling.orders)
    power_kw = next(each.power_kw for each in reading.loads if each.load.load_id == load.load_id)
    limit_kw = round(max(0.0, power_kw - wanted.reduce_kw), 3)
    return _follow(telling, event), Result("accepted", {"limitKw": limit_kw, "until": until})


def _shed_panel(telling: Telling) -> Obeyed:
    wanted = _read(telling, _ShedPanel)
    if telling.conduct.opts_out(telling.home, wanted.event_id):
        return telling.orders, Result("rejected", {"error": "opted out"})
    until = telling.now + wanted.duration_s
    event = Event(wanted.event_id, telling.now, until, wanted.requested_reduction_kw)
    orders = _follow(telling, event)
    accepted_kw, _ = _foreseen(telling, orders)
    before = telling.home.read(telling.now, telling.orders)
    target_kw = round(before.used_kw + before.shed_kw - accepted_kw, 3)
    return orders, Result(
        "accepted", {"targetKw": target_kw, "acceptedReduceKw": accepted_kw, "until": until}
    )


def _join(telling: Telling) -> Obeyed:
    """Follow an event from its start, or from now on, and say what it gives."""
    event = _event(_read(telling, _Join), telling.now)
    stays_until = event.begin + telling.conduct.stay(telling.home, event) * (event.end - event.begin)
    if telling.conduct.opts_out(telling.home, event.event_id) or stays_until <= telling.now:
        refusal = {"event_id": event.event_id, "error": "opted out"}
        return telling.orders, Result("rejected", refusal, {"event_id": event.event_id})
    orders = _follow(telling, replace(event, begin=max(event.begin, telling.now), end=stays_until))
    shed_kw, circuits = _foreseen(telling, orders)
    more = {
        "event_id": event.event_id,
        "requested_shed_kw": event.requested_kw,
        "actual_shed_kw": shed_kw,
        "circuits_curtailed": circuits,
    }
    return orders, Result("accepted", {"event_id": event.event_id}, more)


def _restore(telling: Telling) -> Obeyed:
    event_id = _read(telling, _Restore).event_id
    end = telling.now + release_s(telling.home, event_id)
    more = {} if event_id is None else {"event_id": event_id}
    return telling.orders.without_event(event_id, end), Result("success", more=more)


def _configure(telling: Telling) -> Obeyed:
    wanted = _read(telling, _Configure)
    changes: dict[str, Any] = {}
    if wanted.report_interval_seconds is not UNSET:
        changes["report_interval_s"] = wanted.report_interval_seconds
    if wanted.target_power_kw is not UNSET:
        changes["target_power_kw"] = wanted.target_power_kw
    if not 0.1 <= changes.get("report_interval_s", 1) <= 86_400:  # noqa: PLR2004
        return telling.orders, Result("rejected", {"error": "reports between 0.1 and 86400 s apart"})
    applied = {name: telling.data[name] for name in _Configure.__struct_fields__ if name in telling.data}
    return replace(telling.orders, **changes), Result("success", {"applied": applied})


def _get(telling: Telling) -> Obeyed:
    what = _read(telling, _Get).what
    tell = {"status": _status, "config": _configuration, "loads": _loads}.get(what)
    if tell is None:
        return telling.orders, Result("rejected", {"error": f"there is no {what} to get"})
    return telling.orders, Result("success", {what: tell(telling)})


def _ping(telling: Telling) -> Obeyed:
    return telling.orders, Result("success", {"pong": True, "ts": telling.now})


_OPS: dict[str, Callable[[Telling], Obeyed]] = {
    "setLoad": _set_load,
    "shedLoad": _shed_load,
    "shedPanel": _shed_panel,
    "event": _join,
    "restore": _restore,
    "set": _configure,
    "setConfig": _configure,
    "get": _get,
    "ping": _ping,
}


def _read(telling: Telling, form: type[Form]) -> Form:
    return msgspec.convert(telling.data, type=form)


def _load(telling: Telling, load_id: str) -> Load | None:
    loads = telling.home.loads_under(telling.orders)
    return next((load for load in loads if load.load_id == load_id), None)


def _no_such_load(telling: Telling, load_id: str) -> Obeyed:
    return telling.orders, Result("rejected", {"error": f"there is no load {load_id}"})


def _event(wanted: _Join, now: float) -> Event:
    begin = now if wanted.start_ts is None else wanted.start_ts
    if wanted.end_ts is not None:
        end = wanted.end_ts
    elif wanted.duration_s is not None:
        end = begin + wanted.duration_s
    else:
        raise msgspec.ValidationError("end_ts or duration_s is missing")
    if end <= max(begin, now):
        raise msgspec.ValidationError("it is over")
    return Event(wanted.event_id, begin, end, wanted.requested_kw)


def _follow(telling: Telling, event: Event) -> Orders:
    return telling.orders.with_event(paced(telling.home, event), telling.now)


def _foreseen(telling: Telling, orders: Orders) -> tuple[float, list[dict[str, Any]]]:
    """What the latest event gives, once the home has got down to it: in all, and by load."""
    event = orders.events[0]
    reading = telling.home.read(event.begin + event.lag_s + event.ramp_s, orders)
    shedding = [load for load in reading.loads if load.shed_kw]
    return reading.shed_kw, [{"id": load.load.load_id, "shed_kw": load.shed_kw} for load in shedding]


def _status(telling: Telling) -> dict[str, Any]:
    reading = telling.home.read(telling.now, telling.orders)
    return {
        "status": "online",
        "usedPowerKw": reading.used_kw,
        "shedPowerKw": reading.shed_kw,
        "eventId": reading.event and reading.event.event_id,
    }


def _configuration(telling: Telling) -> dict[str, Any]:
    return {
        "report_interval_seconds": telling.orders.report_interval_s or telling.interval_s,
        "target_power_kw": telling.orders.target_power_kw,
    }


def _loads(telling: Telling) -> list[dict[str, Any]]:
    return [load_entry(load) for load in telling.home.read(telling.now, telling.orders).loads]
