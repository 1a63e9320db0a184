"""The process of ingest ends when a part of it cannot go on."""

import os
import subprocess
import sys

import pytest

from ingest import __main__ as program
from ingest.settings import IngestSettings

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


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process may use all cores")
@pytest.mark.parametrize(("cores", "setting", "workers"), [(1, "", 1), (3, "", 3), (16, "", 4), (2, "7", 7)])
def test_the_number_of_writers_follows_the_cores_unless_it_is_set(
    cores: int, setting: str, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    monkeypatch.setenv("DATABASE_URL", "postgresql://nobody/nothing")
    monkeypatch.setenv("MQTT_URL", "mqtt://127.0.0.1:9")
    monkeypatch.delenv("INGEST_WORKERS", raising=False)
    if setting:
        monkeypatch.setenv("INGEST_WORKERS", setting)
    assert program._workers(IngestSettings.from_environment()) == workers
