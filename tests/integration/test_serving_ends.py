"""`python -m serving` ends on a signal in every state, and leaves no process behind."""

import ctypes
import signal
import sys
import time
from collections.abc import Callable, Iterator

import psutil  # type: ignore[import-untyped]
import pytest

from local.environment import REPOSITORY, inherited_environment
from local.ports import HOST, answers, free_ports
from serving.server import KILLS_WITHIN_S

pytestmark = pytest.mark.thorough  # programs are started, and ended

linux = pytest.mark.skipif(sys.platform != "linux", reason="signals to threads are Linux's own")

AT_ONCE_S = 5.0
FINISH_S = 2
SERVING = ["-m", "serving"]
DEADLOCKED = """
import threading
from granian import Granian
from serving.__main__ import main

held = threading.Lock()
held.acquire()

def interrupt(server, *_):
    server.interrupt_signal = True
    held.acquire()

Granian.signal_handler_interrupt = interrupt
main()
"""

Start = Callable[..., psutil.Process]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[psutil.Process] = []

    def start_one(
        arguments: list[str], finish_s: int = FINISH_S, *, is_awaited: bool = True
    ) -> psutil.Process:
        (port,) = free_ports(1)
        environment = inherited_environment(
            DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing",
            HTTP_HOST=HOST,
            HTTP_PORT=str(port),
            LOG_LEVEL="error",
            HTTP_WORKERS="2",
            HTTP_FINISH_S=str(finish_s),
        )
        process = psutil.Popen([sys.executable, *arguments], cwd=REPOSITORY, env=environment)
        started.append(process)
        _wait_until(process, lambda: len(process.children()) == 2 and (answers(port) or not is_awaited))
        started.extend(process.children())
        return process

    yield start_one
    for process in started:
        if process.is_running():
            process.kill()
            process.wait(10)


def _wait_until(process: psutil.Process, condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        assert process.is_running()
        time.sleep(0.02)


def survivors(everybody: list[psutil.Process], within_s: float) -> list[psutil.Process]:
    alive: list[psutil.Process] = psutil.wait_procs(everybody, timeout=within_s)[1]
    return alive


def with_workers(process: psutil.Process) -> list[psutil.Process]:
    return [process, *process.children()]


def test_it_ends_well(start: Start) -> None:
    process = start(SERVING)
    everybody = with_workers(process)
    process.terminate()
    assert survivors(everybody, AT_ONCE_S) == []
    assert process.wait() == 0


def test_workers_that_still_start_end_at_once(start: Start) -> None:
    process = start(SERVING, finish_s=600, is_awaited=False)
    everybody = with_workers(process)
    process.terminate()
    assert survivors(everybody, 60) == []
    assert process.wait() == 0


@linux
def test_a_signal_that_another_thread_takes_is_heeded(start: Start) -> None:
    """Once, 30 s after SIGTERM, the main process slept on, and so its worker: the signal had been lost."""
    process = start(SERVING)
    everybody = with_workers(process)
    watcher_of_a_worker = process.threads()[-1].id
    assert ctypes.CDLL(None).tgkill(process.pid, watcher_of_a_worker, int(signal.SIGTERM)) == 0
    assert survivors(everybody, AT_ONCE_S) == []
    assert process.wait() == 0


def test_a_worker_that_does_not_heed_it_is_killed(start: Start) -> None:
    process = start(SERVING)
    everybody = with_workers(process)
    everybody[1].suspend()
    process.terminate()
    assert survivors(everybody, FINISH_S + AT_ONCE_S) == []
    assert process.wait() == 0


def test_it_ends_even_when_its_handler_is_stuck(start: Start) -> None:
    process = start(["-c", DEADLOCKED])
    everybody = with_workers(process)
    process.terminate()
    assert survivors(everybody, FINISH_S + KILLS_WITHIN_S + AT_ONCE_S) == []
    assert process.wait() == 1


@linux
def test_workers_do_not_outlive_it(start: Start) -> None:
    """They would keep the port, and the next one could not listen."""
    process = start(SERVING)
    everybody = with_workers(process)
    process.kill()
    assert survivors(everybody, AT_ONCE_S) == []
