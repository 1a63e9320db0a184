"""Schemathesis, run against the program itself."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from local.environment import REPOSITORY
from local.ports import answers
from tests.faults.deadline import until

WITHIN_S = 900


@contextmanager
def serving(port: int, environment: Mapping[str, str]) -> Iterator[None]:
    """`python -m serving`, once it answers at its port."""
    with subprocess.Popen([sys.executable, "-m", "serving"], cwd=REPOSITORY, env=environment) as process:
        until(lambda: answers(port) or process.poll() is not None, 60, lambda: "serving does not answer")
        assert process.poll() is None
        yield
        process.terminate()


def assert_nothing_found(
    request: pytest.FixtureRequest, folder: Path, name: str, words: list[str], environment: dict[str, str]
) -> None:
    """Run it with `NAME.toml` and `NAME_rules.py`, with `--examples` examples."""
    examples = request.config.getoption("--examples")
    tries = [str(examples)] if examples else ["3", "--generation-deterministic"]
    here = Path(__file__).parent
    hooks = {"SCHEMATHESIS_HOOKS": f"tests.integration.{name}_rules", "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(here / f"{name}.toml")),
            *("run", *words, "--max-examples", *tries),
        ],
        cwd=folder,
        env=os.environ | hooks | environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    print(re.findall(r"^.*(?:generated|passed).*$", done.stdout, re.MULTILINE))
