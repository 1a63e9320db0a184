"""`python -m deploy.release`: builds the artefacts of a release in one folder.

Wheel and sdist, a Python and a TypeScript client of the API, a bill of materials, and the checksums of all.
Builds are reproducible: the same source and the same tools give the same bytes.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from schemas.programs.command_line import program_parser
from schemas.programs.exits import DONE, FAILED, WRONG_USAGE
from schemas.programs.version import VERSION

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENT = REPOSITORY / "docs" / "backend-api.yaml"
SDK = Path(__file__).resolve().parent / "sdk"
CHECKSUMS = "SHA256SUMS"
NO_NPM = "npm is not installed"
EPOCH = "1580601600"
"""The time of every file, as hatchling sets it on its own: 2020-02-02."""


Maker = Callable[[Path, Path], None]
"""Builds an artefact, given a work folder and one for the result."""


class ReleaseError(Exception):
    """A tool failed; the message has what it printed."""


class SkippedError(Exception):
    """An artefact cannot be built on this machine."""


def main() -> int:
    options = _parser().parse_args()
    try:
        release(options.into, lambda line: print(line, flush=True), MAKERS)
    except ReleaseError as error:
        print(error, file=sys.stderr)
        return FAILED
    return DONE


def release(into: Path, write_line: Callable[[str], None], makers: Mapping[str, Maker]) -> None:
    """Build artefacts, and replace those of an earlier release in a folder.

    Args:
        into: the folder; files of no release stay there.
        write_line: prints a line for each artefact, or why it was skipped.
        makers: builder of each artefact, by its name.
    """
    with tempfile.TemporaryDirectory() as scratch:
        output, work = Path(scratch) / "made", Path(scratch) / "work"
        output.mkdir()
        for name, make in makers.items():
            (work / name).mkdir(parents=True)
            try:
                make(work / name, output)
            except SkippedError as reason:
                write_line(f"{name}: left out, as {reason}")
        write_checksums(output)
        _replace(output, into)
    for path in sorted(into / name for name in checksums(into)):
        write_line(str(path))


def write_checksums(folder: Path) -> None:
    """Write the SHA-256 of every file in a folder, in the form that `sha256sum -c` reads."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir())
    ]
    (folder / CHECKSUMS).write_text("".join(lines))


def checksums(folder: Path) -> dict[str, str]:
    """The digest of each file of the release in a folder, by file name; empty without a release."""
    path = folder / CHECKSUMS
    lines = path.read_text().splitlines() if path.exists() else []
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def _replace(output: Path, into: Path) -> None:
    """Move the artefacts in, and remove those of the previous release."""
    into.mkdir(parents=True, exist_ok=True)
    for name in checksums(into):
        (into / Path(name).name).unlink(missing_ok=True)
    for path in output.iterdir():
        shutil.move(path, into / path.name)


CLIENT_SETTINGS = "post_hooks: []\ncontent_type_overrides: {text/csv: application/octet-stream}\n"
"""The generator does not support CSV bodies: they are sent unchanged, with their own media type."""


def _gridgate(_work: Path, output: Path) -> None:
    _build(REPOSITORY, output)


def _python_client(work: Path, output: Path) -> None:
    project = work / "client"
    shutil.copytree(SDK / "python", project)
    (work / "config.yaml").write_text(CLIENT_SETTINGS)
    words = ("generate", "--path", DOCUMENT, "--meta", "none", "--fail-on-warning")
    package = ("--output-path", project / "gridgate_client", "--config", work / "config.yaml")
    _run(_beside_python("openapi-python-client"), *words, *package, cwd=work)
    _run(sys.executable, "-m", "compileall", "-q", project / "gridgate_client", cwd=work)
    _build(project, output)


def _typescript_client(work: Path, output: Path) -> None:
    if shutil.which("npm") is None:
        raise SkippedError(f"{NO_NPM} (Debian: apt-get install npm)")
    project = work / "client"
    shutil.copytree(SDK / "typescript", project, ignore=shutil.ignore_patterns("node_modules", "built"))
    _run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=project)
    programs = project / "node_modules" / ".bin"
    _run(programs / "openapi-typescript", DOCUMENT, "-o", "src/api.ts", cwd=project)
    _run(programs / "tsc", cwd=project)
    description = project / "package.json"
    description.write_text(json.dumps(json.loads(description.read_text()) | {"version": VERSION}, indent=2))
    _run("npm", "pack", "--ignore-scripts", "--pack-destination", output, cwd=project)


def _bill_of_materials(work: Path, output: Path) -> None:
    """The packages of a server, with the digests of the lock, as CycloneDX."""
    description = (REPOSITORY / "pyproject.toml").read_text()
    (work / "pyproject.toml").write_text(
        description.replace('dynamic = ["version"]', f'version = "{VERSION}"', 1)
    )
    target = output / f"gridgate-{VERSION}.cdx.json"
    options = ("--pyproject", work / "pyproject.toml", "--output-reproducible", "-o", target)
    lock = REPOSITORY / "requirements-run.lock"
    _run(_beside_python("cyclonedx-py"), "requirements", lock, *options, cwd=work)
    bill = json.loads(target.read_text())
    for tool in bill["metadata"]["tools"]["components"]:
        del tool["externalReferences"]
    # The name suffices: where a package comes from is up to whoever installs it.
    for component in bill["components"]:
        for reference in component["externalReferences"]:
            reference["url"] = component["purl"]
    target.write_text(json.dumps(bill, indent=2) + "\n")


MAKERS: Mapping[str, Maker] = {
    "gridgate": _gridgate,
    "python-client": _python_client,
    "typescript-client": _typescript_client,
    "bill-of-materials": _bill_of_materials,
}


def _build(project: Path, output: Path) -> None:
    """Build wheel and sdist with the installed backend: nothing is downloaded."""
    _run(sys.executable, "-m", "hatchling", "build", "-d", output, "-t", "sdist", "-t", "wheel", cwd=project)


def _beside_python(program: str) -> Path:
    return Path(sys.executable).with_name(program)


def _run(*command: str | Path, cwd: Path) -> None:
    environment = os.environ | {"GRIDGATE_VERSION": VERSION, "SOURCE_DATE_EPOCH": EPOCH}
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ReleaseError(f"{words[0]} is missing: `make install` brings it") from error
    if done.returncode:
        raise ReleaseError(f"{' '.join(words)} failed:\n{done.stdout}{done.stderr}")


def _parser() -> argparse.ArgumentParser:
    parser = program_parser(
        "deploy.release",
        "Make the artefacts of a release: wheel, sdist, clients, a bill of materials, checksums.",
        [],
        ["", "--into /tmp/release"],
        {
            DONE: "all artefacts are there, but for those that it says it left out",
            FAILED: "a tool failed; the message has what it printed",
            WRONG_USAGE: "wrong arguments",
        },
    )
    default = REPOSITORY / "dist"
    parser.add_argument("--into", type=Path, metavar="D", default=default, help="the folder (%(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
