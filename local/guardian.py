"""The guardian: a small process that outlives us by as long as it takes to end what we started.

Linux tells our children when we die, but not their children, and a program may not heed it; macOS tells
nobody. The guardian reads `+PID` and `-PID`, the leaders of process groups, from us. The end of its
input means that we are gone, however it happened: then it ends the groups that are left. It holds the
lock of the data directory until then, so that a successor waits for our remains.
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
    """Our end of it."""

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
        self._tell(f"+{leader}\n")

    def forget(self, leader: int) -> None:
        self._tell(f"-{leader}\n")

    def dismiss(self) -> None:
        """Let it go, when everything is stopped."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        if self._process.stdin is None:
            return
        try:
            self._process.stdin.write(line.encode())
            self._process.stdin.flush()
        except BrokenPipeError:  # somebody killed it: the signal at our death is left
            return


def _read_groups() -> set[int]:
    """The groups alive when our parent closed its end."""
    groups: set[int] = set()
    for line in sys.stdin:
        leader = int(line[1:])
        (groups.add if line[0] == "+" else groups.discard)(leader)
    return groups


def _signal_group(leader: int, number: int) -> bool:
    """Whether anybody was there to receive it."""
    try:
        os.killpg(leader, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _end(groups: set[int]) -> None:
    """Ask first, and insist after a while."""
    alive = {leader for leader in groups if _signal_group(leader, signal.SIGTERM)}
    deadline = time.monotonic() + _GRACE_S
    while alive and time.monotonic() < deadline:
        time.sleep(0.05)  # they are nobody's children that we could wait for
        alive = {leader for leader in alive if _signal_group(leader, 0)}
    for leader in alive:
        kill_group(leader)


if __name__ == "__main__":
    _end(_read_groups())
