"""`python -m serving vens ...` and `credentials ...`: imports of fleets at a terminal."""

import argparse
import sys
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from pathlib import Path

from msgspec import to_builtins
from sqlalchemy import Engine

from schemas.api.credentials import MadeCredential
from schemas.api.ven_imports import VenImport
from schemas.programs.exits import end_with_failure
from schemas.programs.settings import SettingsError
from serving.auth.audit import AuditLog
from serving.cli import TERMINAL, TIME, AuditedChange, Output
from serving.errors import RequestError
from serving.imports import ven_csv
from serving.imports.service import VenImports
from serving.page import CredentialFilter, Page
from serving.registry.credentials import VenCredentials

STDIN = "-"
REVOKE = "revoke a VEN's login at the broker, and end its connections"


def add_fleet_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    vens = commands.add_parser("vens", help="import and export VENs as CSV")
    actions = vens.add_subparsers(dest="action", metavar="ACTION", required=True)
    imported = actions.add_parser("import", help="register and change VENs by a file, in one transaction")
    imported.add_argument("file", metavar="FILE.csv", help=f"as `export` writes it; {STDIN} for stdin")
    imported.add_argument("--dry-run", action="store_true", help="only show what would be done")
    actions.add_parser("export", help="write all VENs to stdout, as CSV")
    _add_credential_commands(commands)


def _add_credential_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    credentials = commands.add_parser("credentials", help="passwords of VENs at the broker")
    actions = credentials.add_subparsers(dest="action", metavar="ACTION", required=True)
    create = actions.add_parser("create", help="give a VEN a password, and print it once")
    create.add_argument("ven_id", metavar="VEN_ID", nargs="?")
    create.add_argument(
        "--missing", action="store_true", help="all VENs that never had one: lines of VEN_ID,PASSWORD"
    )
    for action, what in (("rotate", "give a VEN another password, and print it once"), ("revoke", REVOKE)):
        actions.add_parser(action, help=what).add_argument("ven_id", metavar="VEN_ID")
    actions.add_parser("list", help="all credentials, and whether the broker has applied them")


def run_fleet_command(
    options: argparse.Namespace,
    engine: Engine,
    now: datetime,
    user: str,
    output: Output,
    credentials_key: bytes | None,
) -> None:
    """Run a command of `add_fleet_commands`.

    Ends the program with a message if it cannot be executed.
    """
    change = AuditedChange(AuditLog(engine, lambda: now), user, options.command)
    imports = VenImports(engine, lambda: now)
    credentials = VenCredentials(engine, lambda: now, credentials_key)
    who = f"{TERMINAL}{user}"
    actions: dict[tuple[str, str], Callable[[], None]] = {
        ("vens", "import"): lambda: _import(imports, change, options, output),
        ("vens", "export"): lambda: _export(imports),
        ("credentials", "create"): lambda: _create(credentials, change, options, who, output),
        ("credentials", "rotate"): lambda: _show_password(credentials.rotate, change, options, who, output),
        ("credentials", "revoke"): lambda: _revoke(credentials, change, options.ven_id, who, output),
        ("credentials", "list"): lambda: _list(credentials, output),
    }
    try:
        actions[options.command, options.action]()
    except RequestError as error:
        end_with_failure(str(error))


def _import(imports: VenImports, change: AuditedChange, options: argparse.Namespace, output: Output) -> None:
    text = _text_of(options.file)
    if problems := ven_csv.read(text).problems:
        for each in problems:
            output.note(f"line {each.line}: {each.field} {each.detail}")
        end_with_failure(f"{options.file}: {len(problems)} lines are wrong; nothing was imported")
    if options.dry_run:
        _show(imports.run(text, dry_run=True, progress=_progress(output, "compared")), output)
        return
    with change.audited(f"import {options.file}", None, HTTPStatus.OK):
        done = imports.run(text, dry_run=False, progress=_progress(output, "imported"))
    _show(done, output)


def _export(imports: VenImports) -> None:
    for line in imports.export():
        sys.stdout.write(line)


def _text_of(name: str) -> str:
    """Return the text of a file.

    Raises:
        SettingsError: it cannot be read.
    """
    try:
        content = sys.stdin.buffer.read() if name == STDIN else Path(name).read_bytes()
        return content.decode()
    except OSError as error:
        raise SettingsError(f"{name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"{name}: expected UTF-8: {error}") from None


def _progress(output: Output, verb: str) -> Callable[[int, int], None]:
    return lambda done, rows: output.note(f"{done} of {rows} VENs {verb}")


def _show(done: VenImport, output: Output) -> None:
    counts = f"{done.created} new, {done.restored} back, {done.changed} changed, {done.unchanged} unchanged"
    line = f"{'Would be' if done.dry_run else 'Imported'}: {counts}"
    output.result(line, "vens_imported", **to_builtins(done))


def _create(
    credentials: VenCredentials,
    change: AuditedChange,
    options: argparse.Namespace,
    who: str,
    output: Output,
) -> None:
    if options.missing == (options.ven_id is not None):
        raise SettingsError("credentials create: name a VEN, or --missing for all that never had one")
    if not options.missing:
        _show_password(credentials.make, change, options, who, output)
        return
    with change.audited("create --missing", None, HTTPStatus.CREATED):
        for ven_id, password in credentials.make_missing(who):
            output.result(f"{ven_id},{password}", "credential_made", ven_id=ven_id, password=password)


def _show_password(
    make: Callable[[str, str], MadeCredential],
    change: AuditedChange,
    options: argparse.Namespace,
    who: str,
    output: Output,
) -> None:
    with change.audited(f"{options.action} {options.ven_id}", None, HTTPStatus.CREATED):
        made = make(options.ven_id, who)
    output.note(
        f"The password of {made.username!r}, shown only once; it works as soon as the broker has applied it:"
    )
    output.result(made.password, "credential_made", ven_id=made.username, password=made.password)


def _revoke(
    credentials: VenCredentials, change: AuditedChange, ven_id: str, who: str, output: Output
) -> None:
    with change.audited(f"revoke {ven_id}", None, HTTPStatus.ACCEPTED):
        credentials.revoke(ven_id, who)
    output.result(f"{ven_id!r} is revoked: the broker will be notified.", "credential_revoked", ven_id=ven_id)


def _list(credentials: VenCredentials, output: Output) -> None:
    for each in credentials.all(CredentialFilter(), Page()):
        line = f"{each.id:<24}  {each.status:<8}  since {each.changed_at:{TIME}} by {each.changed_by}"
        output.result(f"{line}  {each.error}" if each.error else line, "credential", **to_builtins(each))
