"""Topics of the broker for notifications. Pure.

All below `openadr/all` is for business logic, below `openadr/clients/{clientID}` for that client: an ACL of
the broker needs no more than these two rules.
"""

from collections.abc import Sequence

from msgspec import UNSET

from schemas.openadr import ObjectType, Operation, OperationTopics

ALL = "openadr/all"
CLIENTS = "openadr/clients"
NOUNS: dict[ObjectType, str] = {
    "PROGRAM": "programs",
    "EVENT": "events",
    "REPORT": "reports",
    "SUBSCRIPTION": "subscriptions",
    "VEN": "vens",
    "RESOURCE": "resources",
}
NOT_IN_A_LEVEL = frozenset("/+#\x00")
"""Characters that the name of a client cannot have within a topic, or within a rule of an ACL."""


def may_be_level(client_id: str) -> bool:
    return NOT_IN_A_LEVEL.isdisjoint(client_id)


def of_all(noun: str) -> str:
    return f"{ALL}/{noun}"


def of_program(program_id: str) -> str:
    return f"{ALL}/programs/{program_id}"


def of_program_events(program_id: str) -> str:
    return f"{of_program(program_id)}/events"


def of_ven(client_id: str, ven_object_id: str, noun: str | None = None) -> str:
    """Of a VEN, or of what is of a noun and its client may read."""
    stem = f"{CLIENTS}/{client_id}/vens/{ven_object_id}"
    return stem if noun is None else f"{stem}/{noun}"


def by_operation(stem: str, *, is_one_object: bool = False) -> OperationTopics:
    """The topics of the operations below a stem."""
    create = UNSET if is_one_object else f"{stem}/create"
    return OperationTopics(f"{stem}/update", f"{stem}/delete", f"{stem}/+", create)


def of_operation(stems: Sequence[str], operation: Operation) -> list[str]:
    return [f"{stem}/{operation.lower()}" for stem in stems]
