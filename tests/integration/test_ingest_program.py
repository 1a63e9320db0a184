"""The process of ingest ends when a part of it cannot go on."""

import os
import subprocess
import sys

FAILING = """
from ingest import __main__ as program

def fail(_):
    raise RuntimeError("a bug in the worker")

program.Worker.run = fail
program.main(["serve"])
"""


def test_a_worker_that_fails_ends_the_process() -> None:
    """The network thread once went on without it: messages were received, but not stored."""
    nowhere = {"DATABASE_URL": "postgresql://nobody/nothing", "MQTT_URL": "mqtt://127.0.0.1:9"}
    ended = subprocess.run(
        [sys.executable, "-c", FAILING],
        env={**os.environ, **nowhere},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 1
    assert "a bug in the worker" in ended.stdout, "where every line of the log goes"
