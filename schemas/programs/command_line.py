"""The command line of a program: `--help` with its purpose and environment, and `--version`."""

import argparse
import shutil
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from schemas.programs.exits import EXIT_CODES, WRONG_USAGE, end_with_failure, write_message
from schemas.programs.settings import Settings
from schemas.programs.version import VERSION

COMMAND = "gridgate"
_WIDEST = 110


def program_parser(
    name: str,
    purpose: str,
    settings: Sequence[type[Settings]],
    examples: Sequence[str],
    exit_codes: Mapping[int, str] = EXIT_CODES,
) -> argparse.ArgumentParser:
    """Return a parser whose `--help` also lists the environment variables, the exit codes and examples.

    Args:
        name: the module that `python -m` runs.
        purpose: a sentence.
        settings: what the program reads from the environment.
        examples: command lines without the program's own name, such as `keys list`.
        exit_codes: what each exit code means.
    """
    program = program_name(name)
    parts = [
        *([_environment(settings)] if settings else []),
        _table("exit codes", [(str(code), meaning) for code, meaning in exit_codes.items()]),
        "\n".join(["examples:", *(f"  $ {program} {words}".rstrip() for words in examples)]),
    ]
    parser = Parser(
        prog=program,
        description=purpose,
        epilog="\n\n".join(parts),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"{COMMAND} {VERSION}")
    return parser


class Parser(argparse.ArgumentParser):
    """A parser of the command line, whose errors have the form of log events."""

    def error(self, message: str) -> NoReturn:
        end_with_failure(f"{self.format_usage()}{self.prog}: error: {message}", WRONG_USAGE)


def program_name(name: str) -> str:
    """Return the program's name as called: `gridgate jobs`, or `python -m jobs`."""
    words = sys.orig_argv[1:]
    called = words[1:] if words[:1] == ["-m"] else words
    if len(called) > 1 and Path(called[0]).name == COMMAND:
        return f"{COMMAND} {called[1]}"
    return f"python -m {name}"


def _environment(settings: Sequence[type[Settings]]) -> str:
    fields = {str(field.validation_alias): field for each in settings for field in each.model_fields.values()}
    rows = [
        (name, f"{field.description} ({'required' if field.is_required() else _default(field.default)})")
        for name, field in fields.items()
    ]
    return _table("environment", rows)


def _default(value: object) -> str:
    return "not set" if value in {None, ""} else str(value)


def _table(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Return two columns; the second is wrapped."""
    first = max(len(name) for name, _ in rows) + 4
    width = max(min(shutil.get_terminal_size().columns, _WIDEST) - first, 30)
    lines = [f"{title}:"]
    for name, text in rows:
        wrapped = textwrap.wrap(text, width) or [""]
        lines.append(f"  {name:<{first - 2}}{wrapped[0]}")
        lines += [" " * first + line for line in wrapped[1:]]
    return "\n".join(lines)


def print_warning(_event: str, variable: str, nearest: str | None) -> None:
    """Warn on stderr that a variable is not a setting, for a command at a terminal."""
    hint = f"; did you mean {nearest}?" if nearest else ""
    text = f"warning: {variable} is not a setting, and has no effect{hint}"
    write_message("warning", "unknown_variable", text, variable=variable, nearest=nearest)
