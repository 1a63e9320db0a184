"""The granian server: its limits, and a shutdown that always ends."""

import ctypes
import gc
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from types import FrameType
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.common import AbstractServer

from serving.settings import ServingSettings

KILLS_WITHIN_S = 4
"""Time to kill workers that exceed theirs; then the main process exits, even if it is stuck itself."""

HEADERS_WITHIN_MS = 10_000
"""Time for the headers of a request, and for the pause between two requests of a connection."""

LONGEST_HEADERS_BYTES = 65_536

HEARTBEAT_S = 1.0
_PR_SET_PDEATHSIG = 1

Application = Callable[..., Any]


MakeApplication = Callable[[ExitStack], Application]
"""Makes the application of a worker process; the stack is closed when the worker must stop."""


def serve(make_application: MakeApplication, settings: ServingSettings) -> None:
    """Serve an application, made in each worker process, until SIGTERM or SIGINT."""
    server = Granian(
        "serving",
        interface=Interfaces.WSGI,
        address=settings.http_host,
        port=settings.http_port,
        workers=settings.http_workers,
        # Each live stream occupies a thread, which waits.
        blocking_threads=settings.http_threads + settings.stream_clients,
        # In this mode the time-out also applies to a connection that has sent nothing yet.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADERS_WITHIN_MS, max_buffer_size=LONGEST_HEADERS_BYTES
        ),
        respawn_failed_workers=True,
        workers_kill_timeout=settings.http_finish_s,
        log_level=LogLevels(settings.log_level),
    )
    server.on_startup(lambda: _start_heartbeat(server, settings.http_finish_s + KILLS_WITHIN_S))
    try:
        server.serve(target_loader=partial(_load_in_worker, make_application), wrap_loader=False)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # an exiting interpreter has no handlers, and would die of it


def _start_heartbeat(server: AbstractServer[Any], ends_within_s: float) -> None:
    """Wake the main thread each second, and exit the process if its shutdown takes too long.

    Python runs signal handlers in the main thread, and granian's waits for a lock without a timeout. If the
    kernel delivers SIGTERM to another thread, or just before the wait begins, the handler would never run.
    The heartbeat interrupts the wait. If granian's handler deadlocks with the thread that it interrupts, the
    heartbeat still runs.
    """
    beats_since_signal = 0

    def beat(_number: int, _frame: FrameType | None) -> None:
        nonlocal beats_since_signal
        beats_since_signal += server.interrupt_signal
        if beats_since_signal * HEARTBEAT_S >= ends_within_s:
            for worker in multiprocessing.active_children():
                worker.kill()
            os._exit(1)

    signal.signal(signal.SIGALRM, beat)
    signal.setitimer(signal.ITIMER_REAL, HEARTBEAT_S, HEARTBEAT_S)


def _load_in_worker(make_application: MakeApplication) -> Application:
    _die_with_parent()
    at_stop = ExitStack()
    application = make_application(at_stop)
    # What exists now stays; without this, each full collection would walk it and delay requests.
    gc.collect()
    gc.freeze()
    _call_on_signal(at_stop.close)
    return application


def _call_on_signal(stop: Callable[[], None]) -> None:
    """Call `stop` from a thread at the first signal, whatever granian's handler does.

    A signal writes a byte to the wake-up socket even while the main thread waits in granian.
    """
    reader, writer = socket.socketpair()
    writer.settimeout(0)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

    def wait() -> None:
        with writer:
            reader.recv(1)
            stop()

    threading.Thread(target=wait, name="at-stop", daemon=True).start()


def _die_with_parent() -> None:
    """Have the kernel kill this worker with the main process (Linux only); else it would keep the port."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():  # the main process died before the call
        os._exit(1)
