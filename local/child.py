"""A child process that does not outlive its parent, and whose own children do not outlive it.

Each child leads a session of its own: Ctrl-C at the terminal reaches only the parent, which stops services in
order, and the processes that a child has forked are ended with it, by its process group.
"""

import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from signal import Signals

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class ProcessSpec:
    """A command, its environment, and the signal that ends it.

    `end_signal` is sent to stop it, and by the kernel (Linux) when the parent dies.
    `user` is another system user to run as. `log` gets its output; without one it shares the parent's.
    """

    argv: list[str]
    env: Mapping[str, str]
    cwd: Path
    log: Path | None = None
    end_signal: Signals = signal.SIGTERM
    user: str | None = None


class Child:
    """A running `ProcessSpec`.

    Start it from the main thread: Linux sends the signal when the thread that forked ends.
    """

    def __init__(self, command: ProcessSpec) -> None:
        self.command = command
        self.log_start = 0
        self._is_gone = False
        self._process = self._spawn()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code: None while it runs, negative for a signal."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> bool:
        """Wait up to `timeout_s`; returns whether it has ended."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def on_exit(self, report: Callable[[], None]) -> None:
        """Call `report`, from another thread, once it has ended."""

        def watch() -> None:
            self._process.wait()
            report()

        threading.Thread(target=watch, name=f"watch-{self.pid}", daemon=True).start()

    def stop(self, grace_s: float) -> None:
        """Send `end_signal`, wait, and kill the rest of its group."""
        if self.exit_code is None:
            self._process.send_signal(self.command.end_signal)
            self.wait(grace_s)
        self.kill()

    def kill(self) -> None:
        """Kill it and its group at once. It is safe to call after its death: its children may still run."""
        if not self._is_gone:  # its id may belong to someone else by now
            kill_group(self.pid)
            self._process.wait()
            self._is_gone = True

    def last_lines(self, count: int = 15) -> list[str]:
        """Return the last lines of its log since it started."""
        if self.command.log is None or not self.command.log.exists():
            return []
        with self.command.log.open("rb") as log:
            log.seek(self.log_start)
            return log.read().decode(errors="replace").splitlines()[-count:]

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = self.command
        output = self._open_log()
        try:
            return subprocess.Popen(
                command.argv,
                env=command.env,
                cwd=command.cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output and subprocess.STDOUT,
                user=command.user,
                group=command.user,
                extra_groups=[] if command.user else None,
                start_new_session=True,
                preexec_fn=_die_with_parent(command.end_signal),  # noqa: PLW1509 - it takes no lock
            )
        finally:
            if output is not None:
                os.close(output)

    def _open_log(self) -> int | None:
        if self.command.log is None:
            return None
        self.command.log.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.command.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.log_start = os.fstat(descriptor).st_size
        return descriptor


def kill_group(pid: int) -> None:
    """SIGKILL to every process of the group that `pid` leads, if any is left."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        return


def _die_with_parent(end_signal: Signals) -> Callable[[], None] | None:
    """Return a function to run in the child between fork and exec, after the change of user, which resets it.

    On other systems than Linux only the guardian ends the child.
    """
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up before the fork: no imports after it
    parent = os.getpid()

    def arrange() -> None:
        prctl(_PR_SET_PDEATHSIG, int(end_signal), 0, 0, 0)
        if os.getppid() != parent:  # we died in between
            os._exit(1)

    return arrange
