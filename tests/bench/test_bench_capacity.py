"""The most VENs with eight loads every 30 s that this machine carries, everything running: the load is raised
until something falls behind.

Behind is: totals older than 5 s, batches that wait for a lane or messages for their commit for longer, or
statistics over HTTP that are not answered. `GRIDGATE_BENCH_STEPS` bounds the time: a step takes 80 s.
"""

import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from msgspec import Struct

from local.ports import HOST, free_ports
from schemas.db.connections import connect
from tests.bench.conftest import MakeDatabase
from tests.bench.fleet_sender import EVERY_S
from tests.conftest import REPOSITORY
from tests.faults.mosquitto import Mosquitto
from tests.integration.published import until

pytestmark = pytest.mark.bench

FIRST_VENS = int(os.environ.get("GRIDGATE_BENCH_VENS", "50000"))
STEPS = int(os.environ.get("GRIDGATE_BENCH_STEPS", "5"))
GROWTH = float(os.environ.get("GRIDGATE_BENCH_GROWTH", "1.25"))
WARM_S = 60
"""A round of the fleet in which new VENs are registered, and one that catches up: they are not judged."""

JUDGED_S = 20
TOTALS_S = 5.0
HISTORY_S = 30.0
LAGS = """
SELECT extract(epoch FROM clock_timestamp() - coalesce((SELECT refreshed_at FROM network_snapshot), now())),
    coalesce(extract(epoch FROM clock_timestamp() - min(received_at) FILTER (WHERE lane = 'snapshot')), 0),
    coalesce(extract(epoch FROM clock_timestamp() - min(received_at) FILTER (WHERE lane = 'history')), 0)
FROM pending_batches JOIN ingest_batches USING (batch_id)
"""
STORED = "SELECT coalesce(sum(telemetry_rows), 0) FROM ingest_batches"


class Lags(Struct):
    """The longest of some time, in seconds; `http_s` is that of an answer."""

    totals_s: float = 0
    snapshot_s: float = 0
    history_s: float = 0
    http_s: float = 0
    ingest_s: float = 0
    sender_s: float = 0

    def behind(self) -> list[str]:
        """What has fallen behind, worst first."""
        limits = {
            "ingest": (self.ingest_s, TOTALS_S),
            "snapshot lane": (self.snapshot_s, TOTALS_S),
            "totals": (self.totals_s, TOTALS_S),
            "history lane": (self.history_s, HISTORY_S),
            "serving": (self.http_s, TOTALS_S),
            "broker": (self.sender_s, TOTALS_S),
        }
        over = {name: lag_s / limit_s for name, (lag_s, limit_s) in limits.items() if lag_s > limit_s}
        return sorted(over, key=lambda name: -over[name])


def test_the_most_vens(make_database: MakeDatabase, tmp_path: Path) -> None:
    database_url = make_database()
    carried = 0
    with ExitStack() as running, connect(database_url, "watcher") as connection:
        broker = running.enter_context(Mosquitto(tmp_path))
        [port] = free_ports(1)
        programs = {
            name: running.enter_context(program(name, database_url, broker.mqtt5_url, port, tmp_path))
            for name in ("ingest", "jobs", "serving")
        }
        until((tmp_path / "ready").exists, within_s=60)
        until(lambda: answer_s(port) is not None, within_s=60)
        sender = running.enter_context(fleet_sender(broker.port))
        server = psutil.Process(connection.info.backend_pid).parent()
        programs |= {"PostgreSQL": server, "broker": psutil.Process(broker.pid)}
        vens = FIRST_VENS
        for _ in range(STEPS):
            lags = step(vens, sender, connection, programs, port)
            if lags.behind():
                break
            carried, vens = vens, int(vens * GROWTH)
    print(f"\ncapacity: {carried:,} VENs x 8 loads every {EVERY_S} s")


def step(
    vens: int,
    sender: "subprocess.Popen[str]",
    connection: psycopg.Connection,
    programs: dict[str, psutil.Process],
    port: int,
) -> Lags:
    command(sender, f"{vens} {WARM_S}")
    reply(sender)
    before = {name: cpu_s(process) for name, process in programs.items()}
    command(sender, f"{vens} {JUDGED_S}")
    lags = watch(connection, port, JUDGED_S)
    sent, lags.sender_s = reply(sender)
    [stored] = connection.execute(STORED).fetchone() or (0,)
    lags.ingest_s = (sent - float(stored)) / (vens / EVERY_S)
    cores = {name: (cpu_s(process) - before[name]) / JUDGED_S for name, process in programs.items()}
    print(
        f"\n{vens:,} VENs, {vens / EVERY_S:,.0f} messages/s; longest lags:"
        f" {', '.join(f'{name} {getattr(lags, name):.1f}' for name in lags.__struct_fields__)};"
        f" cores: {', '.join(f'{name} {share:.2f}' for name, share in cores.items())};"
        f" behind: {', '.join(lags.behind()) or 'nothing'}"
    )
    return lags


def watch(connection: psycopg.Connection, port: int, seconds: float) -> Lags:
    lags, pause, end = Lags(), threading.Event(), time.monotonic() + seconds
    while time.monotonic() < end:
        totals_s, snapshot_s, history_s = map(float, connection.execute(LAGS).fetchone() or (0, 0, 0))
        lags.totals_s = max(lags.totals_s, totals_s)
        lags.snapshot_s = max(lags.snapshot_s, snapshot_s)
        lags.history_s = max(lags.history_s, history_s)
        lags.http_s = max(lags.http_s, answer_s(port) or TOTALS_S * 2)
        pause.wait(1)
    return lags


def answer_s(port: int) -> float | None:
    start = time.monotonic()
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/api/stats/network", timeout=10) as answer:
            answer.read()
    except OSError:
        return None
    return time.monotonic() - start


def cpu_s(process: psutil.Process) -> float:
    """Of a process and its children."""
    times = []
    for each in (process, *process.children(recursive=True)):
        try:
            times.append(sum(each.cpu_times()[:2]))
        except psutil.NoSuchProcess:
            continue
    return float(sum(times))


@contextmanager
def program(
    name: str, database_url: str, mqtt_url: str, port: int, directory: Path
) -> Iterator[psutil.Process]:
    settings = {
        "DATABASE_URL": database_url,
        "MQTT_URL": mqtt_url,
        "INGEST_READY_FILE": str(directory / "ready"),
        "HTTP_PORT": str(port),
        "HTTP_AUTH": "off",
        "LOG_LEVEL": "warning",
    }
    environment = {key: value for key, value in os.environ.items() if key != "INGEST_WORKERS"} | settings
    with (directory / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", name], cwd=REPOSITORY, env=environment, stdout=log, stderr=log
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


@contextmanager
def fleet_sender(port: int) -> Iterator["subprocess.Popen[str]"]:
    words = [sys.executable, "-m", "tests.bench.fleet_sender", str(port)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, cwd=REPOSITORY, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process
        finally:
            process.kill()


def command(sender: "subprocess.Popen[str]", line: str) -> None:
    assert sender.stdin is not None
    sender.stdin.write(line + "\n")
    sender.stdin.flush()


def reply(sender: "subprocess.Popen[str]") -> tuple[int, float]:
    assert sender.stdout is not None
    sent, late_s = sender.stdout.readline().split()
    return int(sent), float(late_s)
