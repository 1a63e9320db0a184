"""Scopes of OpenADR clients, and what each role may do. Pure."""

from collections.abc import Iterable
from datetime import datetime

from msgspec import Struct

from serving.errors import ForbiddenError

READ_ALL = "read_all"
READ_TARGETS = "read_targets"
READ_VEN_OBJECTS = "read_ven_objects"
WRITE_PROGRAMS = "write_programs"
WRITE_EVENTS = "write_events"
WRITE_REPORTS = "write_reports"
WRITE_SUBSCRIPTIONS = "write_subscriptions"
WRITE_VENS = "write_vens"

ROLE_SCOPES = {
    "bl": (READ_ALL, WRITE_PROGRAMS, WRITE_EVENTS, WRITE_SUBSCRIPTIONS, WRITE_VENS),
    "ven": (READ_TARGETS, READ_VEN_OBJECTS, WRITE_REPORTS, WRITE_SUBSCRIPTIONS, WRITE_VENS),
}
"""The scopes that a client of a role may have."""

SCOPES = {scope: None for scopes in ROLE_SCOPES.values() for scope in scopes}
"""All of them, in order."""

OF_BUSINESS_LOGIC = frozenset({READ_ALL, WRITE_PROGRAMS, WRITE_EVENTS})
"""A client with one of these is business logic. A token with fewer scopes only loses rights."""

MAY_READ_TARGETS = (READ_ALL, READ_TARGETS)
MAY_READ_VEN_OBJECTS = (READ_ALL, READ_VEN_OBJECTS)
MAY_READ = (READ_ALL, READ_TARGETS, READ_VEN_OBJECTS)


class Client(Struct, frozen=True):
    """The client of a token."""

    client_id: str
    scopes: frozenset[str]
    expires_at: datetime

    @property
    def is_business_logic(self) -> bool:
        return not self.scopes.isdisjoint(OF_BUSINESS_LOGIC)

    @property
    def reads_all(self) -> bool:
        return READ_ALL in self.scopes


def require_scope(client: Client, sufficient: Iterable[str]) -> None:
    """Refuse a client that has none of the scopes that suffice.

    Raises:
        ForbiddenError: it has none.
    """
    if client.scopes.isdisjoint(sufficient):
        raise ForbiddenError(
            f"This needs the scope {' or '.join(sufficient)}; the token of {client.client_id!r} has "
            f"{' '.join(sorted(client.scopes)) or 'none'}."
        )


def granted_scopes(requested: str, own: Iterable[str]) -> tuple[str, ...]:
    """The scopes of a new token: those requested that the client has; all that it has if it has none of them.

    Clients ask for `read_all` whatever their role, and the response lists what was granted (RFC 6749, 5.1).

    Raises:
        ValueError: a word that is no scope.
    """
    words = requested.split()
    unknown = [word for word in words if word not in SCOPES and word != "read_bl"]
    if unknown:
        raise ValueError(f"{unknown[0]!r} is no scope; there are {', '.join(SCOPES)}")
    own = tuple(own)
    return tuple(scope for scope in own if scope in words) or own
