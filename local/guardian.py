"""The guardian: a small process that outlives its parent and ends the processes that the parent started.

Linux signals children when their parent dies, but not grandchildren, and a program may ignore the signal;
macOS has no such signal. The guardian reads `+PID` and `-PID`, the leaders of process groups, from its
parent. The end of its input means that the parent is gone, in whatever way: then it ends the remaining
groups. It holds the lock of the data directory until then, so that a successor waits for them.
"""

import os
import signal
import subprocess
import sys
import time

from local.child import kill_group
from local.environment import REPOSITORY, inherited_environment

_GRACE_S = 15.0


class Guardian:
    """The parent's side: starts the guardian, and sends it the process groups."""

    def __init__(self, lock: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "local.guardian"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=REPOSITORY,
            env=inherited_environment(),
            pass_fds=[lock],
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def protect(self, leader: int) -> None:
        self._write_line(f"+{leader}\n")

    def forget(self, leader: int) -> None:
        self._write_line(f"-{leader}\n")

    def dismiss(self) -> None:
        """End it, when everything is stopped."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def _write_line(self, line: str) -> None:
        if self._process.stdin is None:
            return
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except BrokenPipeError:  # it was killed: only the kernel's signal at our death remains
            return


def _read_groups() -> set[int]:
    """The groups alive when the parent closed its end of the pipe."""
    groups: set[int] = set()
    for line in sys.stdin:
        leader = int(line[1:])
        (groups.add if line[0] == "+" else groups.discard)(leader)
    return groups


def _signal_group(leader: int, number: int) -> bool:
    """Send a signal; whether the group had a process to receive it."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _end(groups: set[int]) -> None:
    """Send SIGTERM, wait, then SIGKILL."""
    alive = {leader for leader in groups if _signal_group(leader, signal.SIGTERM)}
    deadline = time.monotonic() + _GRACE_S
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)  # they are not our children, so we cannot wait for them
        alive = {leader for leader in alive if _signal_group(leader, 0)}
    for leader in alive:
        kill_group(leader)


if __name__ == "__main__":
    _end(_read_groups())
