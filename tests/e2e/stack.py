"""A whole stack for a test, in its own directory and on its own ports."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local.environment import REPOSITORY
from local.ports import free_ports

READY_WITHIN_S = 120.0


@contextmanager
def running_stack(directory: Path, *options: str) -> Iterator[dict[str, Any]]:
    """`python -m local` with some options; yields the content of its ready file.

    Unless an option says otherwise, with the servers that every machine has.
    """
    ready = directory / "ready.json"
    ports = zip(("--http-port", "--mqtt-port", "--mqtt5-port"), map(str, free_ports(3)), strict=True)
    where = ["--data-dir", str(directory / "data"), "--ready-file", str(ready)]
    command = [sys.executable, "-m", "local", *where, *(word for pair in ports for word in pair), *options]
    if "--broker" not in options:
        command += ["--broker", "embedded"]
    process = subprocess.Popen(command, cwd=REPOSITORY)
    try:
        until(lambda: ready.exists() or process.poll() is not None, READY_WITHIN_S)
        assert process.poll() is None, "the stack ended before it was ready"
        yield json.loads(ready.read_text())
    finally:
        process.terminate()
        process.wait(60)


def until(what: Callable[[], bool], within_s: float) -> None:
    """Wait for a condition without a signal."""
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)
