"""`python -m serving vens ...`: fleets imported and exported at a terminal."""

import argparse
import sys
from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus
from pathlib import Path

from msgspec import to_builtins
from sqlalchemy import Engine

from schemas.http import VenImport
from schemas.programs.exits import end_with_failure
from schemas.programs.settings import SettingsError
from serving.auth.audit import AuditLog
from serving.cli import AuditedChange, Output
from serving.errors import RequestError
from serving.fleet import ven_csv
from serving.fleet.imports import VenImports

STDIN = "-"


def add_fleet_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    vens = commands.add_parser("vens", help="import and export VENs as CSV")
    actions = vens.add_subparsers(dest="action", metavar="ACTION", required=True)
    imported = actions.add_parser("import", help="register and change VENs by a file: all of it, or nothing")
    imported.add_argument("file", metavar="FILE.csv", help=f"as `export` writes it; {STDIN} for stdin")
    imported.add_argument("--dry-run", action="store_true", help="only say what would be done")
    actions.add_parser("export", help="write all VENs to stdout, as CSV")


def run_fleet_command(
    options: argparse.Namespace, engine: Engine, now: datetime, user: str, output: Output
) -> None:
    """Run a command of `add_fleet_commands`.

    Ends the program with a message where it cannot be executed.
    """
    change = AuditedChange(AuditLog(engine, lambda: now), user, options.command)
    imports = VenImports(engine, lambda: now)
    actions: dict[tuple[str, str], Callable[[], None]] = {
        ("vens", "import"): lambda: _import(imports, change, options, output),
        ("vens", "export"): lambda: _export(imports),
    }
    try:
        actions[options.command, options.action]()
    except RequestError as error:
        end_with_failure(str(error))


def _import(
    imports: VenImports, change: AuditedChange, options: argparse.Namespace, output: Output
) -> None:
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
    """The text of a file.

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
