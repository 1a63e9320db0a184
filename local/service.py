"""A service: a named child process with a readiness check."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

from local.child import Child, ProcessSpec
from schemas.programs.exits import FAILED, TRY_AGAIN, WRONG_USAGE


class StartError(Exception):
    """A service did not come up. The message has the end of its log."""

    exit_code = FAILED


class UnusableError(StartError):
    """An option cannot be used, now or later: another one is needed."""

    exit_code = WRONG_USAGE


class InUseError(StartError):
    """Something is in use, and may be free later."""

    exit_code = TRY_AGAIN


class Service:
    """One named program: launched, waited for, stopped, launched again.

    Subclasses prepare a launch (`_prepare`), make the command (`_command`), and check whether it is ready
    (`_is_ready`, polled).
    """

    name: str
    ready_within_s = 60.0
    stops_within_s = 10.0

    def __init__(self) -> None:
        self._child: Child | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def child(self) -> Child:
        if self._child is None:
            raise RuntimeError(f"{self.name} was never started")
        return self._child

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def log(self) -> Path | None:
        return self.child.command.log

    def start(self) -> None:
        """Launch it and wait until it is ready.

        Raises:
            StartError: it died, or was not ready in time; nothing of it is left running.
        """
        self.launch()
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise

    def launch(self) -> None:
        """Start its process, after ending the processes of an earlier one."""
        if self._child is not None:
            self._child.kill()
        self._prepare()
        self._child = Child(self._command())

    def wait_ready(self) -> None:
        deadline = time.monotonic() + self.ready_within_s
        pause_s = 0.01
        while not self._is_ready():
            if self.child.wait(pause_s):
                raise StartError(self._failure_message(f"ended with {describe_exit(self.child.exit_code)}"))
            if time.monotonic() > deadline:
                raise StartError(self._failure_message(f"was not ready within {self.ready_within_s:g} s"))
            pause_s = min(2 * pause_s, 0.2)

    def stop(self) -> None:
        """Send its end signal; kill it after `stops_within_s`. Does nothing when it does not run."""
        if self._child is not None:
            self._child.stop(self.stops_within_s)
            self._clean_up()

    def kill(self) -> None:
        """SIGKILL to it and to all of its processes."""
        if self._child is not None:
            self._child.kill()
            self._clean_up()

    def _prepare(self) -> None:
        """Make a launch possible."""

    def _command(self) -> ProcessSpec:
        raise NotImplementedError

    def _is_ready(self) -> bool:
        raise NotImplementedError

    def _clean_up(self) -> None:
        """Remove what a dead process has left behind."""

    def _failure_message(self, outcome: str) -> str:
        return "\n".join([f"{self.name} {outcome}", *self.child.last_lines()])


class LocalProgram(Service):
    """One of our own programs."""

    def __init__(
        self,
        name: str,
        command: ProcessSpec,
        is_ready: Callable[[], bool],
        prepare: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self.name = name
        self.command = command
        self._ready = is_ready
        self._before = prepare

    def _prepare(self) -> None:
        if self._before is not None:
            self._before()

    def _command(self) -> ProcessSpec:
        return self.command

    def _is_ready(self) -> bool:
        return self._ready()


def describe_exit(code: int | None) -> str:
    """An exit code in words: `exit code 3`, `signal 9`."""
    return f"signal {-code}" if code is not None and code < 0 else f"exit code {code}"
