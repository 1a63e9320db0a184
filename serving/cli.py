"""`python -m serving keys ...`, `clients ...` and `audit`: for people at a terminal."""

import argparse
import json
import re
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TextIO

from msgspec import to_builtins
from sqlalchemy import Engine

from schemas.api.access import AuditEntry
from schemas.programs.exits import end_with_failure
from schemas.programs.logs import LogFormat
from schemas.programs.settings import SettingsError
from schemas.tables.access import ROLES
from schemas.tables.openadr import OPENADR_ROLES
from schemas.times.instants import parse_iso
from serving.auth.audit import AuditLog
from serving.auth.keys import KeyNameTakenError, KeyStore, UnknownKeyError
from serving.auth.queries import KeyRow
from serving.errors import ConflictError, InvalidRequestError, NotFoundError
from serving.openadr.auth.access import ROLE_SCOPES
from serving.openadr.auth.clients import ClientIdTakenError, ClientStore, NewClient, UnknownClientError
from serving.openadr.auth.queries import ClientRow
from serving.page import Page

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
DURATION = re.compile(r"([1-9][0-9]{0,4})([dh])")
TIME = "%Y-%m-%dT%H:%M:%SZ"
DEFAULT_LIMIT = 50
TERMINAL = "terminal:"
"""Prefix of a user's name in the audit log; the name of a key has no colon."""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    keys = commands.add_parser("keys", help="create, list and revoke API keys")
    actions = keys.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="create a key, and print it once")
    create.add_argument("name", type=_name, help="the key's name, such as that of its owner")
    create.add_argument(
        "--role", choices=ROLES, required=True, help="a viewer reads, an operator does everything"
    )
    create.add_argument(
        "--expires", metavar="WHEN", help="90d or 12h from now, or a time in ISO 8601 (never)"
    )
    actions.add_parser("list", help="all keys, also revoked and expired ones")
    actions.add_parser("revoke", help="revoke a key").add_argument("name")
    _add_client_commands(commands)
    audit = commands.add_parser("audit", help="the audit log of changes, newest first")
    audit.add_argument("--limit", type=int, default=DEFAULT_LIMIT, help="most entries (%(default)s)")
    audit.add_argument("--after", type=int, metavar="ID", help="only entries older than this one")


def _add_client_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    clients = commands.add_parser("clients", help="create, list and revoke OpenADR clients")
    actions = clients.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="create clients, and print the secret of each once")
    create.add_argument("names", metavar="CLIENT_ID", type=_name, nargs="+", help="its client id")
    create.add_argument(
        "--role", choices=OPENADR_ROLES, required=True, help="bl: business logic, of a utility; ven: a VEN"
    )
    create.add_argument(
        "--scopes", metavar="SCOPES", default="", help="some of its role's scopes, by commas (default: all)"
    )
    create.add_argument(
        "--expires", metavar="WHEN", help="90d or 12h from now, or a time in ISO 8601 (never)"
    )
    actions.add_parser("list", help="all clients, also revoked and expired ones")
    revoke = actions.add_parser("revoke", help="revoke a client and its tokens")
    revoke.add_argument("name", metavar="CLIENT_ID")


class Output:
    """Prints results: lines for people, or one JSON object each."""

    def __init__(self, log_format: LogFormat = "text") -> None:
        self._is_json = log_format == "json"

    def result(self, line: str, event: str, **fields: object) -> None:
        _print(json.dumps({"event": event, **fields}, default=str) if self._is_json else line)

    def note(self, line: str) -> None:
        """Print a text that is not part of the result to stderr."""
        _print(json.dumps({"event": line, "level": "info"}) if self._is_json else line, sys.stderr)


def _print(line: str, to: TextIO | None = None) -> None:
    (to or sys.stdout).write(f"{line}\n")


def run_command(
    options: argparse.Namespace, engine: Engine, now: datetime, user: str, output: Output
) -> None:
    """Run the command of the command line.

    Ends the program with a message if it cannot be executed.
    """
    log = AuditLog(engine, lambda: now)
    keys, clients = KeyStore(engine), ClientStore(engine)
    change = AuditedChange(log, user, options.command)
    actions: dict[tuple[str, str | None], Callable[[], None]] = {
        ("keys", "create"): lambda: _create(keys, change, options, now, output),
        ("keys", "list"): lambda: _print_keys(keys.all_keys(), now, output),
        ("keys", "revoke"): lambda: _revoke(keys, change, options.name, now, output),
        ("clients", "create"): lambda: _create_clients(clients, change, options, now, output),
        ("clients", "list"): lambda: _print_clients(clients.all_clients(), now, output),
        ("clients", "revoke"): lambda: _revoke_client(clients, change, options.name, now, output),
        ("audit", None): lambda: _print_audit(log, options, output),
    }
    try:
        actions[options.command, getattr(options, "action", None)]()
    except (*CONFLICTS, *UNKNOWN) as error:
        end_with_failure(str(error))


CONFLICTS = (KeyNameTakenError, ClientIdTakenError, ConflictError)
UNKNOWN = (UnknownKeyError, UnknownClientError, NotFoundError)


class AuditedChange:
    """A change at a terminal, with an entry in the audit log like that of a request."""

    def __init__(self, log: AuditLog, user: str, command: str) -> None:
        self._log = log
        self._user = user
        self._command = command

    @contextmanager
    def audited(self, action: str, body: Mapping[str, object] | None, done: HTTPStatus) -> Iterator[None]:
        audit_id = self._log.begin(
            {
                "who": f"{TERMINAL}{self._user}",
                "role": "operator",
                "method": self._command,
                "path": action,
                "request_id": uuid.uuid4().hex,
                "body": body,
            }
        )
        try:
            yield
        except (*CONFLICTS, *UNKNOWN, InvalidRequestError) as error:
            self._log.finish(audit_id, _status_of(error))
            raise
        self._log.finish(audit_id, done)


def _status_of(error: Exception) -> HTTPStatus:
    """Return the HTTP status of a request with that error."""
    if isinstance(error, CONFLICTS):
        return HTTPStatus.CONFLICT
    return HTTPStatus.NOT_FOUND if isinstance(error, UNKNOWN) else HTTPStatus.BAD_REQUEST


def _create(
    store: KeyStore, change: AuditedChange, options: argparse.Namespace, now: datetime, output: Output
) -> None:
    expires_at = None if options.expires is None else _expiry(options.expires, now)
    body = {"role": options.role, "expiresAt": expires_at and f"{expires_at:{TIME}}"}
    with change.audited(f"create {options.name}", body, HTTPStatus.CREATED):
        secret = store.create(options.name, options.role, expires_at, now)
    output.note(f"The {options.role} key of {options.name!r}, shown only once:")
    output.result(secret, "key_created", name=options.name, role=options.role, key=secret)


def _revoke(store: KeyStore, change: AuditedChange, name: str, now: datetime, output: Output) -> None:
    with change.audited(f"revoke {name}", None, HTTPStatus.NO_CONTENT):
        store.revoke(name, now)
    output.result(f"{name!r} is revoked; every worker refuses it within seconds.", "key_revoked", name=name)


def _create_clients(
    store: ClientStore, change: AuditedChange, options: argparse.Namespace, now: datetime, output: Output
) -> None:
    for client_id in options.names:
        _create_client(store, change, _new_client(client_id, options, now), now, output)


def _create_client(
    store: ClientStore, change: AuditedChange, new: NewClient, now: datetime, output: Output
) -> None:
    body = {
        "role": new.role,
        "scopes": list(new.scopes),
        "expiresAt": new.expires_at and f"{new.expires_at:{TIME}}",
    }
    with change.audited(f"create {new.client_id}", body, HTTPStatus.CREATED):
        secret = store.create(new, now)
    output.note(f"The secret of the {new.role} client {new.client_id!r}, shown only once:")
    output.result(secret, "client_created", id=new.client_id, role=new.role, secret=secret)


def _new_client(client_id: str, options: argparse.Namespace, now: datetime) -> NewClient:
    scopes = tuple(each.strip() for each in options.scopes.split(",") if each.strip())
    possible = ROLE_SCOPES[options.role]
    if surplus := [scope for scope in scopes if scope not in possible]:
        raise SettingsError(f"--scopes: {surplus[0]!r} is none of role {options.role}: {', '.join(possible)}")
    expires_at = None if options.expires is None else _expiry(options.expires, now)
    return NewClient(client_id, options.role, scopes, expires_at)


def _revoke_client(
    store: ClientStore, change: AuditedChange, client_id: str, now: datetime, output: Output
) -> None:
    with change.audited(f"revoke {client_id}", None, HTTPStatus.NO_CONTENT):
        store.revoke(client_id, now)
    line = f"{client_id!r} is revoked; every worker refuses it and its tokens within seconds."
    output.result(line, "client_revoked", id=client_id)


def _print_clients(clients: list[ClientRow], now: datetime, output: Output) -> None:
    if not clients:
        output.note("There are no clients: `python -m serving clients create CLIENT_ID --role bl` makes one.")
    for client in clients:
        state, created = _state(client, now), f"{client.created_at:{TIME}}"
        line = (
            f"{client.client_id:<24}  {client.role:<3}  created {created}  {state}  {' '.join(client.scopes)}"
        )
        fields = {"id": client.client_id, "role": client.role, "scopes": client.scopes}
        output.result(line, "client", **fields, created_at=created, state=state)


def _name(text: str) -> str:
    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            "a name has up to 64 letters, digits and . _ @ -, such as ui or ops@example"
        )
    return text


def _expiry(text: str, now: datetime) -> datetime:
    duration = DURATION.fullmatch(text)
    try:
        expires_at = now + _timedelta(*duration.groups()) if duration else parse_iso(text)
    except ValueError as error:
        raise SettingsError(f"--expires: neither like 90d or 12h, nor a time: {error}") from None
    if expires_at <= now:
        raise SettingsError(f"--expires: {text} is in the past")
    return expires_at


def _timedelta(number: str, unit: str) -> timedelta:
    return timedelta(days=int(number)) if unit == "d" else timedelta(hours=int(number))


def _print_keys(keys: Sequence[KeyRow], now: datetime, output: Output) -> None:
    if not keys:
        output.note("There are no keys: `python -m serving keys create NAME --role operator` makes one.")
    for key in keys:
        state, created = _state(key, now), f"{key.created_at:{TIME}}"
        line = f"{key.key_id}  {key.name:<24}  {key.role:<8}  created {created}  {state}"
        output.result(
            line, "key", id=key.key_id, name=key.name, role=key.role, created_at=created, state=state
        )


def _state(key: KeyRow | ClientRow, now: datetime) -> str:
    if key.revoked_at is not None:
        return f"revoked {key.revoked_at:{TIME}}"
    if key.expires_at is None:
        return "works"
    return f"{'expired' if key.expires_at <= now else 'works until'} {key.expires_at:{TIME}}"


def _print_audit(log: AuditLog, options: argparse.Namespace, output: Output) -> None:
    after = None if options.after is None else str(options.after)
    for entry in log.entries(Page(options.limit, after)):
        output.result(_line(entry), "audit_entry", **to_builtins(entry))


def _line(entry: AuditEntry) -> str:
    status = "----" if entry.status is None else f" {entry.status}"
    who = f"{entry.who} ({entry.role})" + (f" from {entry.client_address}" if entry.client_address else "")
    body = "" if entry.body is None else f"  {json.dumps(entry.body)}"
    return f"{entry.id:>8}  {entry.at:{TIME}}  {status}  {entry.method:<6} {entry.path}  by {who}{body}"
