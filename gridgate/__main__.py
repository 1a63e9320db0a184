"""`gridgate`: one command for all programs, also without a checkout."""

import runpy
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

from alembic.config import CommandLine
from alembic.config import main as alembic

import migrations
from schemas.programs.command_line import COMMAND
from schemas.programs.exits import EXIT_CODES, FAILED, WRONG_USAGE, end_with_failure
from schemas.programs.extras import MissingExtraError
from schemas.programs.version import VERSION

PROGRAMS = {
    "ingest": ("ingest", "store reports of VENs, and publish commands to them"),
    "jobs": ("jobs", "compute summaries, and run events"),
    "serving": ("serving", "serve the HTTP API"),
    "local": ("local", "everything on this machine (extra: local)"),
    "demo": ("local", "the same with 50 simulated homes"),
    "sample": ("analysis.sample", "a database with two weeks of a fleet (extra: analysis)"),
}
"""The module of each command."""

DEMO = ["--fleet", "50", "--interval", "5", "--backfill", "6"]
MIGRATIONS = Path(migrations.__file__).with_name("alembic.ini")
USAGE = f"""\
usage: {COMMAND} [-h] [--version] COMMAND ...

The backend of a grid-event gateway. Each COMMAND has a --help of its own, which lists the settings that it
reads from the environment.

commands:
{{commands}}
  migrate   bring the database of DATABASE_URL to the schema of this version
  alembic   Alembic with our migrations: `{COMMAND} alembic current`

exit codes:
{{codes}}

examples:
  $ DATABASE_URL=postgresql://gridgate@db/gridgate {COMMAND} migrate
  $ {COMMAND} serving keys create control-room --role operator
  $ {COMMAND} demo --http-port 8001
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exits with its exit code."""
    name, *words = [*(sys.argv[1:] if arguments is None else arguments)] or ["--help"]
    if name in {"-h", "--help", "help"}:
        print(usage())
    elif name in {"--version", "version"}:
        print(f"{COMMAND} {VERSION}")
    elif name == "migrate":
        _alembic("migrate", words or ["upgrade", "head"])
    elif name == "alembic":
        _alembic("alembic", words)
    elif name in PROGRAMS:
        _run(name, words)
    else:
        reason = f"{COMMAND}: there is no command {name!r}; there are {', '.join(commands())}"
        end_with_failure(reason, WRONG_USAGE)


def commands() -> list[str]:
    """The names of all commands."""
    return [*PROGRAMS, "migrate", "alembic"]


def usage() -> str:
    """Return the text of `--help`."""
    lines = "\n".join(f"  {name:<10}{about}" for name, (_, about) in PROGRAMS.items())
    codes = "\n".join(f"  {code:<4}{meaning}" for code, meaning in EXIT_CODES.items())
    return USAGE.format(commands=lines, codes=codes).rstrip()


def _run(name: str, words: Sequence[str]) -> None:
    """Run a module as `python -m` would, but without the working directory on its path."""
    module, _ = PROGRAMS[name]
    sys.argv = [COMMAND, *(DEMO if name == "demo" else []), *words]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except MissingExtraError as error:
        end_with_failure(f"{COMMAND} {name}: {error}", WRONG_USAGE)


def _alembic(name: str, words: Sequence[str]) -> None:
    _check_arguments(CommandLine(prog=f"{COMMAND} {name}").parser, words)
    try:
        alembic(["-c", str(MIGRATIONS), *words], prog=f"{COMMAND} {name}")
    except SystemExit as ended:
        sys.exit(FAILED if ended.code == -1 else ended.code)  # Alembic's own errors


def _check_arguments(parser: ArgumentParser, words: Sequence[str]) -> None:
    """Log a usage error as an event, as a foreign parser would write plain text."""
    text = StringIO()
    try:
        with redirect_stderr(text):
            parser.parse_args(words)
    except SystemExit as ended:
        if ended.code:
            end_with_failure(text.getvalue().rstrip(), WRONG_USAGE)
        sys.exit()  # after --help or --version


if __name__ == "__main__":
    main()
