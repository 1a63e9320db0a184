"""`--help` and `--version` of each program; commands that texts name can be typed as they stand."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import ingest.__main__ as ingest
import serving.__main__ as serving
from analysis import baseline_accuracy, slot_error
from analysis.sample import __main__ as sample
from deploy import dashboards, release
from ingest.settings import IngestSettings
from jobs import cli as jobs
from jobs.settings import JobsSettings
from local import options
from local.fixtures import __main__ as fixtures
from local.fleet import __main__ as fleet
from local.openadr import __main__ as openadr_fleet
from schemas.programs.exits import DONE, EXIT_CODES, FAILED, WRONG_USAGE
from schemas.programs.settings import ProgramSettings
from schemas.programs.version import VERSION
from serving.settings import ServingSettings

REPOSITORY = Path(__file__).resolve().parents[2]
PARSERS = {
    "ingest": ingest._parser,
    "jobs": jobs.command_parser,
    "serving": serving._parser,
    "local": options._parser,
    "local.fleet": fleet._parser,
    "local.fixtures": fixtures._parser,
    "local.openadr": openadr_fleet._parser,
    "analysis.sample": sample._parser,
    "analysis.slot_error": slot_error._parser,
    "analysis.baseline_accuracy": baseline_accuracy._parser,
    "deploy.dashboards": dashboards._parser,
    "deploy.release": release._parser,
}
SETTINGS: dict[str, type[ProgramSettings]] = {
    "local.openadr": ProgramSettings,
    "ingest": IngestSettings,
    "jobs": JobsSettings,
    "serving": ServingSettings,
}


@pytest.mark.parametrize("program", PARSERS)
def test_help_tells_purpose_environment_exit_codes_and_an_example(program: str) -> None:
    text = PARSERS[program]().format_help()
    assert text.startswith(f"usage: python -m {program} ")
    for code in (DONE, FAILED, WRONG_USAGE) if program == "deploy.release" else EXIT_CODES:
        assert re.search(rf"^  {code} +\S", text, re.MULTILINE)
    fields = SETTINGS[program].model_fields.values() if program in SETTINGS else []
    for field in fields:
        assert re.search(rf"^  {field.validation_alias} ", text, re.MULTILINE)
    examples = re.findall(r"^  \$ python -m (\S+)(.*)", text, re.MULTILINE)
    assert examples
    for name, words in examples:
        assert name == program
        PARSERS[program]().parse_args(shlex.split(words, comments=True)[: (words.count(">") and -2) or None])


@pytest.mark.parametrize("program", PARSERS)
def test_every_program_tells_its_version(program: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        PARSERS[program]().parse_args(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"gridgate {VERSION}\n"


def test_every_program_is_among_these() -> None:
    """The fleet and the fixtures once had neither exit codes nor a version."""
    modules = {
        path.relative_to(REPOSITORY).with_suffix("").as_posix().removesuffix("/__main__").replace("/", ".")
        for folder in ("analysis", "deploy", "gridgate", "ingest", "jobs", "local", "schemas", "serving")
        for path in (REPOSITORY / folder).rglob("*.py")
        if '\nif __name__ == "__main__":' in path.read_text()
    }
    assert modules == PARSERS.keys() | {"gridgate", "local.guardian"}  # of which a child of ours is the last


@pytest.mark.thorough
def test_help_needs_no_settings() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ingest", "--help"], cwd=REPOSITORY, env={}, capture_output=True, check=False
    )
    assert done.returncode == 0


COMMAND = re.compile(r"python -m serving (keys create [^`<&\n#;)]*)")


def named_commands() -> list[str]:
    """Every command that makes a key, as documents, pages and messages have it."""
    texts = [
        path.read_text()
        for pattern in ("*.md", "docs/*.md", "deploy/*", "serving/**/*.py", "serving/dashboard/*.html")
        for path in REPOSITORY.glob(pattern)
        if path.is_file()
    ]
    return [found.strip() for text in texts for found in COMMAND.findall(text)]


def test_every_command_for_a_key_works_as_it_stands() -> None:
    """The login dialog once left out the role."""
    commands = named_commands()
    assert len(commands) > 5
    for command in commands:
        options = serving._parser().parse_args(shlex.split(command))
        assert options.action == "create"
