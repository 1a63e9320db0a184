"""Keeps services running: starts them in order, restarts one that dies, stops them in reverse."""

import queue
import time
from collections.abc import Callable

from rich.markup import escape

from local.child import Child, ProcessSpec
from local.guardian import Guardian
from local.service import Service, StartError, describe_exit

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_GOOD_RUN_S = 60.0
"""A service that ran for this long is restarted without a back-off."""


def restart_pause_s(failures: int) -> float:
    """Seconds to wait before the restart after `failures` short runs in a row (1 and up)."""
    return float(min(_FIRST_PAUSE_S * 2 ** min(failures - 1, 10), _LONGEST_PAUSE_S))


class Supervisor:
    """The services of one stack. Its methods belong to the main thread, which forks."""

    def __init__(
        self, guardian: Guardian, announce: Callable[[str], None], on_change: Callable[[dict[str, int]], None]
    ) -> None:
        self._guardian = guardian
        self._announce = announce
        self._on_change = on_change
        self._services: list[Service] = []
        self._failures: dict[str, int] = {}
        self._launched_at: dict[str, float] = {}
        self._due: dict[str, float] = {}
        self._exits: queue.SimpleQueue[tuple[Service | None, Child]] = queue.SimpleQueue()

    def pids(self) -> dict[str, int]:
        return {service.name: service.pid for service in self._services}

    def start(self, service: Service) -> None:
        """Start one more service, and keep it running from now on.

        Raises:
            StartError: it does not come up.
        """
        self._launch(service)
        self._services.append(service)
        service.wait_ready()

    def run(self, command: ProcessSpec, what: str) -> None:
        """Run a command to its end while supervising the services.

        Raises:
            StartError: it failed.
        """
        child = Child(command)
        self._guardian.protect(child.pid)
        child.on_exit(lambda: self._exits.put((None, child)))
        try:
            while self._handle_next() is not child:
                pass
        finally:
            child.stop(grace_s=5)
            self._guardian.forget(child.pid)
        if child.exit_code != 0:
            lines = [f"{what} failed with {describe_exit(child.exit_code)}", *child.last_lines()]
            raise StartError("\n".join(lines))

    def watch(self) -> None:
        """Supervise the services until an exception interrupts it."""
        while True:
            self._handle_next()

    def stop_all(self) -> None:
        """Stop the services, the last started first."""
        for service in reversed(self._services):
            self._announce(f"stopping {service.name}")
            service.stop()
            self._guardian.forget(service.pid)

    def _launch(self, service: Service) -> None:
        service.launch()
        child = service.child
        self._guardian.protect(child.pid)
        self._launched_at[service.name] = time.monotonic()
        child.on_exit(lambda: self._exits.put((service, child)))

    def _handle_next(self) -> Child | None:
        """Wait for the next exit of a child or the next restart that is due, and handle it."""
        now = time.monotonic()
        next_due = min(self._due.values(), default=None)
        try:
            service, child = self._exits.get(timeout=None if next_due is None else max(0.0, next_due - now))
        except queue.Empty:
            self._restart_due()
            return None
        if service is not None and service.child is child:
            self._handle_exit(service, child)
        return child

    def _handle_exit(self, service: Service, child: Child) -> None:
        """Report the exit, kill the rest of its group, and schedule its restart."""
        child.kill()
        self._guardian.forget(child.pid)
        self._report(service.name, child)
        self._plan_restart(service.name)

    def _report(self, name: str, child: Child) -> None:
        self._announce(
            f"[bold red]{name} died[/] with {describe_exit(child.exit_code)}; log: {child.command.log}"
        )
        for line in child.last_lines():
            self._announce(f"  [dim]{name} |[/] {escape(line)}")

    def _plan_restart(self, name: str) -> None:
        now = time.monotonic()
        lived_s = now - self._launched_at[name]
        self._failures[name] = 1 if lived_s >= _GOOD_RUN_S else self._failures.get(name, 0) + 1
        pause_s = restart_pause_s(self._failures[name])
        self._due[name] = now + pause_s
        self._announce(f"{name} ran for {lived_s:.0f} s; restarting it in {pause_s:g} s")

    def _restart_due(self) -> None:
        now = time.monotonic()
        for service in self._services:
            if self._due.get(service.name, now + 1) <= now:
                del self._due[service.name]
                self._restart(service)

    def _restart(self, service: Service) -> None:
        try:
            self._launch(service)
        except StartError as error:
            self._announce(f"[bold red]{service.name} does not start:[/] {escape(str(error))}")
            self._plan_restart(service.name)
            return
        self._announce(f"{service.name} runs again, process {service.pid}")
        self._on_change(self.pids())
