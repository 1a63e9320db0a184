"""The granian server: its limits, and a shutdown that always ends."""

import asyncio
import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from types import FrameType
from typing import Any

import structlog
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.common import AbstractServer

from schemas.programs.logs import library_logging
from serving.asgi import AsgiAdapter
from serving.http.representation import App
from serving.settings import ServingSettings

KILLS_WITHIN_S = 4
"""Time to kill workers that exceed theirs; afterwards the main process exits, even if it is stuck."""

HEADERS_WITHIN_MS = 10_000
"""Timeout for a request's headers, and for the pause between two requests of a connection."""

LONGEST_HEADERS_BYTES = 65_536

HEARTBEAT_S = 1.0
_PR_SET_PDEATHSIG = 1

MakeApplication = Callable[[ExitStack], App]
"""Creates the application of a worker process; the stack is closed when the worker stops."""


def serve(make_application: MakeApplication, settings: ServingSettings) -> None:
    """Serve an application, created in each worker process, until SIGTERM or SIGINT."""
    server = Granian(
        "serving",
        interface=Interfaces.ASGINL,
        address=settings.http_host,
        port=settings.http_port,
        workers=settings.workers,
        # In this mode the timeout also applies to a connection that has sent nothing yet.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=HEADERS_WITHIN_MS, max_buffer_size=LONGEST_HEADERS_BYTES
        ),
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=settings.http_finish_s,
        log_level=LogLevels(settings.log_level),
        log_dictconfig=library_logging(settings.log_level, settings.log_format),
    )
    os.register_at_fork(after_in_child=_end_at_signals)
    server.on_startup(lambda: _start_heartbeat(server, settings.http_finish_s + KILLS_WITHIN_S))
    try:
        # Each live stream occupies a thread, which waits.
        threads = settings.share.requests + settings.stream_clients
        server.serve(target_loader=partial(_load_in_worker, make_application, threads), wrap_loader=False)
    finally:
        signal.setitimer(
            signal.ITIMER_REAL, 0
        )  # an exiting interpreter has no handlers: the signal would kill it


def _start_heartbeat(server: AbstractServer[Any], ends_within_s: float) -> None:
    """Wake the main thread each second, and exit the process if its shutdown takes too long.

    Python runs signal handlers in the main thread, where granian waits for a lock without a timeout. If the
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


def _load_in_worker(make_application: MakeApplication, threads: int) -> AsgiAdapter:
    _die_with_parent()
    at_stop = ExitStack()
    try:
        application = make_application(at_stop)
    except Exception:  # noqa: BLE001 - whatever it is, the process ends
        structlog.get_logger().exception("worker_failed")  # multiprocessing would print the trace as it is
        sys.exit(1)
    # Exempt existing objects from garbage collection: each full collection would traverse them.
    gc.collect()
    gc.freeze()
    # Once the loop runs, granian has set its own handlers.
    asyncio.get_event_loop().call_soon(_call_on_signal, at_stop.close)
    return AsgiAdapter(application, threads)


def _call_on_signal(stop: Callable[[], None]) -> None:
    """Call `stop` from a thread at the first signal.

    The event loop still runs granian's own callback, by its wake-up socket, whatever the handler.
    """
    stopping = threading.Thread(target=stop, name="at-stop", daemon=True)

    def handle(_number: int, _frame: FrameType | None) -> None:
        if stopping.ident is None:
            stopping.start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)


def _end_at_signals() -> None:
    """Have SIGTERM and SIGINT end a worker that does not serve yet: inherited handlers only note them."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)


def _die_with_parent() -> None:
    """Have the kernel kill this worker when the main process dies (Linux): else it would keep the port."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():  # the main process died before the call
        os._exit(1)
