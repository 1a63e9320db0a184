"""How many processes ingest and serving start by themselves."""

import os
import sys

import pytest

from schemas.programs.cores import processes_for


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process may use all cores")
@pytest.mark.parametrize(
    ("cores", "setting", "number"), [(1, None, 1), (3, None, 3), (16, None, 4), (2, 7, 7)]
)
def test_processes_follow_the_cores_unless_they_are_set(
    cores: int, setting: int | None, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)))
    assert processes_for(setting) == number
