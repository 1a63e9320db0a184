"""TCP ports on 127.0.0.1."""

import errno
import socket
from collections.abc import Callable, Collection, Mapping

import psutil  # type: ignore[import-untyped]

from local.service import InUseError, StartError, UnusableError

HOST = "127.0.0.1"
_LAST_PORT = 65_535
_FIRST_UNPRIVILEGED = 1024


def bind_error(port: int) -> OSError | None:
    """The error of listening on a port now; None if it is free."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error
        return None


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now."""
    return bind_error(port) is None


def require_free(ports: Mapping[str, int], command: Callable[[str], str]) -> None:
    """Check all ports at once.

    Args:
        ports: each port by the option that sets it.
        command: makes the command line with some more options.

    Raises: InUseError: other processes listen on some of them; the message names each, and a command with
        free ports. UnusableError: this user must not listen on some of them.
    """
    errors = {option: error for option, port in ports.items() if (error := bind_error(port)) is not None}
    if not errors:
        return
    lines = [_trouble(ports[option], error) for option, error in errors.items()]
    instead = _replacements({option: ports[option] for option in errors}, set(ports.values()))
    options = " ".join(f"{option} {port}" for option, port in instead.items())
    in_use = all(error.errno == errno.EADDRINUSE for error in errors.values())
    kind: type[StartError] = InUseError if in_use else UnusableError
    raise kind("\n".join([*lines, f"These ports are free: {command(options)}"]))


def _trouble(port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is in use by {listener(port)}"
    if error.errno == errno.EACCES:
        return f"port {port}: this user must not listen on ports below {_FIRST_UNPRIVILEGED}"
    return f"port {port}: {error.strerror}"


def listener(port: int) -> str:
    """The process that listens on a port, as far as this user may see it: `nginx (process 123)`."""
    try:
        connections = psutil.net_connections("tcp")
        pids = [
            each.pid
            for each in connections
            if each.status == psutil.CONN_LISTEN and each.laddr.port == port and each.pid is not None
        ]
        return f"{psutil.Process(pids[0]).name()} (process {pids[0]})" if pids else "another user's process"
    except psutil.Error:
        return "another process"


def _replacements(ports: Mapping[str, int], avoided: Collection[int]) -> dict[str, int]:
    """For each option a port that is free, the next one where possible."""
    avoided_ports, replacements = set(avoided), dict[str, int]()
    for option, port in ports.items():
        first = max(port + 1, _FIRST_UNPRIVILEGED)
        candidates = (
            each for each in range(first, _LAST_PORT + 1) if each not in avoided_ports and is_free(each)
        )
        replacements[option] = next(candidates, 0) or free_ports(1)[0]
        avoided_ports.add(replacements[option])
    return replacements


def answers(port: int) -> bool:
    """Whether something accepts connections on `port`."""
    try:
        socket.create_connection((HOST, port), timeout=1).close()
    except OSError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports that are free at this moment."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
