"""Baselines and settlements of events; dry runs."""

from collections.abc import Mapping
from datetime import datetime
from typing import cast

from schemas.demand_response.baselines import BASELINES, BaselineName
from schemas.times.instants import from_microseconds
from serving.http.parameters.ids import identifier
from serving.http.parameters.rules import ID, Parameter, bad_parameter, checked
from serving.http.parameters.times import instant_us

BASELINE = Parameter(
    name="baseline",
    description="The baseline that the event is measured by. Default: `EVENT_BASELINE`.",
    advice=f"must be one of {', '.join(BASELINES)}",
    choices=tuple(BASELINES),
    examples=("10-of-10",),
)
REVISION = Parameter(
    name="revision",
    description="The settlement of the event. Default: the newest.",
    advice="must be a whole number from 1 on",
    minimum=1,
    maximum=999_999_999,
)
PERFORMANCE = (BASELINE, REVISION)

VEN_OF_BASELINE = Parameter(
    name="venId",
    description="One VEN. Without it, all that take part together.",
    advice="must not have control characters",
    pattern=ID,
    key="VenOfBaseline",
)
WINDOW_START = Parameter(
    name="start",
    description="First instant, ISO 8601; without a zone UTC.",
    is_instant=True,
    is_required=True,
    examples=("2026-01-15T17:00:00Z",),
    key="WindowStart",
)
WINDOW_END = Parameter(
    name="end",
    description="End, itself not included; at most `EVENTS_LONGEST_S` after the start.",
    is_instant=True,
    is_required=True,
    examples=("2026-01-15T18:30:00Z",),
    key="WindowEnd",
)
EVENT_BASELINE = (VEN_OF_BASELINE, BASELINE)

VEN_BASELINE = (WINDOW_START, WINDOW_END, BASELINE)

DRY_IMPORT = Parameter(
    name="dryRun",
    description="With 1 nothing is stored; the response has the import's effect and wrong lines.",
    advice="must be 0 or 1",
    choices=("0", "1"),
    default="0",
    key="DryImport",
)
DRY_RUN = Parameter(
    name="dryRun",
    description="With 1 nothing is stored; the response has the event's VENs and their shares.",
    advice="must be 0 or 1",
    choices=("0", "1"),
    default="0",
)


def settlement(parameters: Mapping[str, str | list[str]]) -> tuple[BaselineName | None, int | None]:
    """Parse baseline and revision; a `+` that was not percent-encoded arrives as a space."""
    decoded = {
        name: text.replace(" ", "+") if isinstance(text, str) else text for name, text in parameters.items()
    }
    baseline, revision = checked(decoded, BASELINE), checked(parameters, REVISION)
    return cast(BaselineName | None, baseline), None if revision is None else int(revision)


def baseline_name(parameters: Mapping[str, str | list[str]]) -> BaselineName | None:
    """Parse the baseline; None for the primary one."""
    name, _ = settlement({name: text for name, text in parameters.items() if name == BASELINE.name})
    return name


def ven_of_baseline(parameters: Mapping[str, str | list[str]]) -> str | None:
    text = checked(parameters, VEN_OF_BASELINE)
    return None if text is None else identifier("venId", text)


def baseline_window(parameters: Mapping[str, str | list[str]]) -> tuple[datetime, datetime]:
    """Parse `start` and `end`, both required.

    Raises:
        falcon.HTTPBadRequest: one of them is missing or not a time.
    """
    instants_us = {each.name: instant_us(parameters, each) for each in (WINDOW_START, WINDOW_END)}
    start, end = (_required(name, instant_us) for name, instant_us in instants_us.items())
    return start, end


def _required(name: str, instant_us: int | None) -> datetime:
    if instant_us is None:
        raise bad_parameter(name, "is missing: give a time such as 2026-01-15T17:00:00Z")
    return from_microseconds(instant_us)


def is_dry_run(parameters: Mapping[str, str | list[str]]) -> bool:
    """Return whether a request is a dry run.

    Raises:
        falcon.HTTPBadRequest: `dryRun` is neither 0 nor 1.
    """
    return checked(parameters, DRY_RUN) == "1"
