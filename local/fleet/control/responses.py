"""The effect of each command on the state of a VEN, and its result. Pure: time is an argument."""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, TypeVar

import msgspec
from msgspec import UNSET, Struct, UnsetType

from local.fleet.control.answers import Result
from local.fleet.homes.behaviour import ResponseBehaviour, paced, release_s
from local.fleet.homes.control_state import ControlState
from local.fleet.homes.events import ShedEvent
from local.fleet.homes.household import Household, HouseholdLoad
from local.fleet.telemetry.messages import UNDERSTANDS, load_entry

Outcome = tuple[ControlState, Result]
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


class _Interval(Struct):
    start_ts: float
    duration_s: float
    target_kw: float = msgspec.field(name="targetKw")


class _EventData(Struct):
    event_id: str
    requested_kw: float = msgspec.field(name="requestedReductionKw")
    start_ts: float | None = None
    end_ts: float | None = None
    duration_s: float | None = None
    direction: Literal["reduce", "increase"] = "reduce"
    intervals: list[_Interval] = []
    import_limit_kw: float | None = msgspec.field(name="importLimitKw", default=None)
    export_limit_kw: float | None = msgspec.field(name="exportLimitKw", default=None)


class _Restore(Struct):
    event_id: str | None = None


class _Configure(Struct):
    report_interval_seconds: float | UnsetType = UNSET
    target_power_kw: float | UnsetType | None = UNSET


class _Get(Struct):
    what: str


class CommandContext(Struct, frozen=True):
    """One command to one home: its state before, its behaviour, its report interval."""

    home: Household
    state: ControlState
    data: dict[str, object]
    now: float
    behaviour: ResponseBehaviour
    interval_s: float


def respond(op: str, context: CommandContext) -> Outcome:
    """The state after a command, and the result to acknowledge."""
    do = _OPS.get(op)
    if do is None:
        return context.state, Result("rejected", {"error": f"this VEN does not know {op}"})
    try:
        return do(context)
    except msgspec.ValidationError as error:
        return context.state, Result("error", {"error": f"cannot read data: {error}"})


def _set_load(context: CommandContext) -> Outcome:
    command = _read(context, _SetLoad)
    if _load(context, command.load_id) is None:
        return _unknown_load(context, command.load_id)
    updated = {
        name: context.data[name] for name in ("enabled", "capacityKw", "priority") if name in context.data
    }
    values = {"enabled": command.enabled, "capacity_kw": command.capacity_kw, "priority": command.priority}
    changes = {name: value for name, value in values.items() if value is not UNSET}
    return context.state.with_load(command.load_id, changes), Result("success", {"updated": updated})


def _shed_load(context: CommandContext) -> Outcome:
    """Limit one load to its present power less the reduction, for a time."""
    command = _read(context, _ShedLoad)
    load = _load(context, command.load_id)
    if load is None:
        return _unknown_load(context, command.load_id)
    if not load.enabled:
        return context.state, Result("rejected", {"error": f"{load.load_id} may not be controlled now"})
    until = context.now + command.duration_s
    event = ShedEvent(command.event_id, context.now, until, command.reduce_kw, load.load_id)
    reading = context.home.read(context.now, context.state)
    power_kw = next(each.power_kw for each in reading.loads if each.load.load_id == load.load_id)
    limit_kw = round(max(0.0, power_kw - command.reduce_kw), 3)
    return _follow(context, event), Result("accepted", {"limitKw": limit_kw, "until": until})


def _shed_panel(context: CommandContext) -> Outcome:
    command = _read(context, _ShedPanel)
    if context.behaviour.opts_out(context.home, command.event_id):
        return context.state, Result("rejected", {"error": "opted out"})
    until = context.now + command.duration_s
    event = ShedEvent(command.event_id, context.now, until, command.requested_reduction_kw)
    state = _follow(context, event)
    accepted_kw, _ = _expected_shed(context, state)
    before = context.home.read(context.now, context.state)
    target_kw = round(before.used_kw + before.shed_kw - accepted_kw, 3)
    return state, Result("accepted", {"targetKw": target_kw, "acceptedReduceKw": accepted_kw, "until": until})


def _take_part(context: CommandContext) -> Outcome:
    """Take part in an event from its start, or from now; the answer has the expected reduction."""
    event = _event(_read(context, _EventData), context.now)
    stays_until = event.begin + context.behaviour.stay(context.home, event) * (event.end - event.begin)
    if context.behaviour.opts_out(context.home, event.event_id) or stays_until <= context.now:
        refusal = {"event_id": event.event_id, "error": "opted out"}
        return context.state, Result("rejected", refusal, {"event_id": event.event_id})
    state = _follow(context, replace(event, begin=max(event.begin, context.now), end=stays_until))
    shed_kw, circuits = _expected_shed(context, state)
    more = {
        "event_id": event.event_id,
        "requested_shed_kw": event.requested_kw,
        "actual_shed_kw": shed_kw,
        "circuits_curtailed": circuits,
    }
    return state, Result("accepted", {"event_id": event.event_id}, more)


def _restore(context: CommandContext) -> Outcome:
    event_id = _read(context, _Restore).event_id
    end = context.now + release_s(context.home, event_id)
    more = {} if event_id is None else {"event_id": event_id}
    return context.state.without_event(event_id, end), Result("success", more=more)


def _configure(context: CommandContext) -> Outcome:
    command = _read(context, _Configure)
    state = context.state
    if command.report_interval_seconds is not UNSET:
        if not 0.1 <= command.report_interval_seconds <= 86_400:  # noqa: PLR2004
            return state, Result("rejected", {"error": "reports between 0.1 and 86400 s apart"})
        state = replace(state, report_interval_s=command.report_interval_seconds)
    if command.target_power_kw is not UNSET:
        state = replace(state, target_power_kw=command.target_power_kw)
    applied = {name: context.data[name] for name in _Configure.__struct_fields__ if name in context.data}
    return state, Result("success", {"applied": applied})


def _get(context: CommandContext) -> Outcome:
    what = _read(context, _Get).what
    describe = {"status": _status, "config": _configuration, "loads": _loads}.get(what)
    if describe is None:
        return context.state, Result("rejected", {"error": f"there is no {what} to get"})
    return context.state, Result("success", {what: describe(context), "understands": UNDERSTANDS})


def _ping(context: CommandContext) -> Outcome:
    return context.state, Result("success", {"pong": True, "ts": context.now})


_OPS: dict[str, Callable[[CommandContext], Outcome]] = {
    "setLoad": _set_load,
    "shedLoad": _shed_load,
    "shedPanel": _shed_panel,
    "event": _take_part,
    "restore": _restore,
    "set": _configure,
    "setConfig": _configure,
    "get": _get,
    "ping": _ping,
}


def _read(context: CommandContext, form: type[Form]) -> Form:
    return msgspec.convert(context.data, type=form)


def _load(context: CommandContext, load_id: str) -> HouseholdLoad | None:
    loads = context.home.loads_under(context.state)
    return next((load for load in loads if load.load_id == load_id), None)


def _unknown_load(context: CommandContext, load_id: str) -> Outcome:
    return context.state, Result("rejected", {"error": f"there is no load {load_id}"})


def _event(command: _EventData, now: float) -> ShedEvent:
    begin = now if command.start_ts is None else command.start_ts
    if command.end_ts is not None:
        end = command.end_ts
    elif command.duration_s is not None:
        end = begin + command.duration_s
    else:
        raise msgspec.ValidationError("end_ts or duration_s is missing")
    if end <= max(begin, now):
        raise msgspec.ValidationError("it is over")
    steps = tuple((each.start_ts, each.target_kw) for each in command.intervals)
    return ShedEvent(
        command.event_id,
        begin,
        end,
        command.requested_kw,
        is_more=command.direction == "increase",
        steps=steps,
        import_limit_kw=command.import_limit_kw,
        export_limit_kw=command.export_limit_kw,
    )


def _follow(context: CommandContext, event: ShedEvent) -> ControlState:
    return context.state.with_event(paced(context.home, event), context.now)


def _expected_shed(context: CommandContext, state: ControlState) -> tuple[float, list[dict[str, object]]]:
    """The reduction by the latest event after the ramp, kW: in total, and by load."""
    event = state.events[0]
    reading = context.home.read(event.begin + event.lag_s + event.ramp_s, state)
    shedding = [load for load in reading.loads if load.shed_kw]
    return reading.shed_kw, [{"id": load.load.load_id, "shed_kw": load.shed_kw} for load in shedding]


def _status(context: CommandContext) -> dict[str, object]:
    reading = context.home.read(context.now, context.state)
    return {
        "status": "online",
        "usedPowerKw": reading.used_kw,
        "shedPowerKw": reading.shed_kw,
        "eventId": reading.event and reading.event.event_id,
    }


def _configuration(context: CommandContext) -> dict[str, object]:
    return {
        "report_interval_seconds": context.state.report_interval_s or context.interval_s,
        "target_power_kw": context.state.target_power_kw,
    }


def _loads(context: CommandContext) -> list[dict[str, object]]:
    return [load_entry(load) for load in context.home.read(context.now, context.state).loads]
