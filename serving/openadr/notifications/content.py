"""What a notification says to whom. Pure."""

from collections.abc import Collection

from schemas.openadr import ObjectType, Operation
from serving.openadr.objects import Object

TARGETED: tuple[ObjectType, ...] = ("PROGRAM", "EVENT")
"""Objects that VENs read by their targets; the others belong to one client."""


def notification(operation: Operation, kind: ObjectType, shown: Object) -> Object:
    return {"objectType": kind, "operation": operation, "object": shown, "targets": shown.get("targets")}


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
