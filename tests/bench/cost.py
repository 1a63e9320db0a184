"""CPU and wall time of some work, in this process and in the server. On a shared machine compare CPU time."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import psutil  # type: ignore[import-untyped]
from msgspec import Struct
from sqlalchemy import Connection, Engine

from schemas.db.connections import driver_connection

NANOSECONDS_PER_S = 1e9


class Cost(Struct, frozen=True):
    """Seconds: on the clock, of the processor in this process, of the processor in the server's."""

    wall_s: float = 0.0
    own_cpu_s: float = 0.0
    server_cpu_s: float = 0.0

    @property
    def cpu_s(self) -> float:
        return self.own_cpu_s + self.server_cpu_s

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.wall_s + other.wall_s,
            self.own_cpu_s + other.own_cpu_s,
            self.server_cpu_s + other.server_cpu_s,
        )


def typical(costs: Iterable[Cost]) -> Cost:
    """The median of each."""
    each = [(cost.wall_s, cost.own_cpu_s, cost.server_cpu_s) for cost in costs]
    return Cost(*(median(seconds) for seconds in zip(*each, strict=True)))


def cost_of(engine: Engine, work: Callable[[Connection], Any]) -> Cost:
    """The cost of work in a transaction of its own, with the commit."""
    with engine.connect() as connection:
        server = driver_connection(connection).info.backend_pid
        wall_s, own_s, server_s = time.perf_counter(), time.process_time(), server_cpu_s(server)
        work(connection)
        connection.commit()
        return Cost(
            time.perf_counter() - wall_s, time.process_time() - own_s, server_cpu_s(server) - server_s
        )


def server_cpu_s(pid: int) -> float:
    """Exactly where the system is Linux; elsewhere to a hundredth of a second."""
    exact = Path(f"/proc/{pid}/schedstat")
    if exact.exists():
        return int(exact.read_text().split()[0]) / NANOSECONDS_PER_S
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
