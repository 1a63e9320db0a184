"""What a notification says to whom. Pure."""

from collections.abc import Callable, Collection, Sequence

from msgspec import Struct

from schemas.openadr import ObjectType, Operation
from schemas.openadr_objects import Object

Concerns = Callable[[str], bool]
"""Whether a change concerns the VENs of a client; by default it concerns all that may read the object."""

TARGETED: tuple[ObjectType, ...] = ("PROGRAM", "EVENT")
"""Objects that VENs read by their targets; the others belong to one client."""


class Change(Struct, frozen=True):
    """A change of an object: as business logic sees it, with all of its targets.

    `program_id`: of a report, if it is known; else it is looked up.
    """

    operation: Operation
    kind: ObjectType
    changed: Object
    targets: Sequence[str] = ()
    program_id: str | None = None


def notification(change: Change, shown: Object) -> Object:
    return {
        "objectType": change.kind,
        "operation": change.operation,
        "object": shown,
        "targets": shown.get("targets"),
    }


def without_tokens(changed: Object) -> Object:
    """An object without the tokens of webhooks."""
    if changed["objectType"] != "SUBSCRIPTION":
        return changed
    parts = [
        {name: value for name, value in part.items() if name != "bearerToken"}
        for part in changed["objectOperations"]
    ]
    return {**changed, "objectOperations": parts}


def with_targets(changed: Object, seen: Collection[str]) -> Object:
    """An object with those of its targets that a client may see."""
    if not changed.get("targets"):
        return changed
    return {**changed, "targets": [each for each in changed["targets"] if each in seen]}
