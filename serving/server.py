"""granian, made sure to end: when it is told to, and when its main process dies."""

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
from serving.slowness import start_watching

KILLS_WITHIN_S = 4
"""Workers that have not finished in their time; then the main process ends, even if it is stuck itself."""

HEADERS_WITHIN_MS = 10_000
"""Also how long a connection may be idle between two requests."""

LONGEST_HEADERS_BYTES = 65_536

BEAT_S = 1.0
_PR_SET_PDEATHSIG = 1

Application = Callable[..., Any]


MakeApplication = Callable[[ExitStack], Application]
"""Makes what a worker serves; what it puts on the stack is done when the worker is asked to stop."""


def serve(make_application: MakeApplication, settings: ServingSettings) -> None:
    """Serve what `make_application` makes, in each worker process anew, until a signal."""
    server = Granian(
        "serving",
        interface=Interfaces.WSGI,
        address=settings.http_host,
        port=settings.http_port,
        workers=settings.http_workers,
        # A live stream holds a thread, which waits; requests have theirs all the same.
        blocking_threads=settings.http_threads + settings.stream_clients,
        # In this mode the time-out also holds for a connection that has not said anything yet.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADERS_WITHIN_MS, max_buffer_size=LONGEST_HEADERS_BYTES
        ),
        respawn_failed_workers=True,
        workers_kill_timeout=settings.http_finish_s,
        log_level=LogLevels(settings.log_level),
    )
    server.on_startup(lambda: _start_heart(server, settings.http_finish_s + KILLS_WITHIN_S))
    try:
        server.serve(target_loader=partial(_load_in_worker, make_application, settings), wrap_loader=False)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)  # an exiting interpreter has no handlers, and would die of it


def _start_heart(server: AbstractServer[Any], ends_within_s: float) -> None:
    """Wake the main thread each second, and end the process when its own way out takes too long.

    Python's part of a signal handler runs in the main thread, and granian's sleeps in a lock without a
    limit. When another thread takes the signal from the kernel, or when it arrives just before the sleep,
    nothing wakes it: SIGTERM was lost. A heartbeat wakes it; and where granian's handler itself waits for a
    lock that the thread which it interrupts holds, only the heartbeat gets on.
    """
    beats_since_asked = 0

    def beat(_number: int, _frame: FrameType | None) -> None:
        nonlocal beats_since_asked
        beats_since_asked += server.interrupt_signal
        if beats_since_asked * BEAT_S >= ends_within_s:
            for worker in multiprocessing.active_children():
                worker.kill()
            os._exit(1)

    signal.signal(signal.SIGALRM, beat)
    signal.setitimer(signal.ITIMER_REAL, BEAT_S, BEAT_S)


def _load_in_worker(make_application: MakeApplication, settings: ServingSettings) -> Application:
    _die_with_parent()
    at_stop = ExitStack()
    stopping = threading.Event()
    at_stop.callback(stopping.set)
    start_watching(settings.http_port, settings.slow_client_window_s, stopping)
    application = make_application(at_stop)
    # What is there now stays: a full collection over all of it would hold up each request of that moment.
    gc.collect()
    gc.freeze()
    _call_on_signal(at_stop.close)
    return application


def _call_on_signal(stop: Callable[[], None]) -> None:
    """Call `stop` from a thread at the first signal, whatever granian's handler does with it.

    The kernel's signal writes a byte to the wake-up socket even while the main thread sleeps in granian.
    """
    ours, pythons = socket.socketpair()
    pythons.settimeout(0)
    signal.set_wakeup_fd(pythons.fileno(), warn_on_full_buffer=False)

    def wait() -> None:
        with pythons:
            ours.recv(1)
            stop()

    threading.Thread(target=wait, name="at-stop", daemon=True).start()


def _die_with_parent() -> None:
    """A worker that outlives the main process keeps its port, and nobody could stop it (Linux only)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():  # it died in between
        os._exit(1)
