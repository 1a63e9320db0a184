"""The network to the database drops data: every program notices within 30 s, and recovers when it is back.

Once by a proxy that stops forwarding while TCP is content; once by packets that are dropped, to programs in
a network namespace of their own.
"""

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, Self

import pytest

from local.ports import HOST, free_ports
from tests.faults.deadline import until
from tests.faults.jobs import Scheduler, health
from tests.faults.proxy import SOCKET, PostgresProxy
from tests.faults.requirement import be_without
from tests.faults.site import DATABASE, SETTLED_WITHIN_S, Site
from tests.integration.test_live_served import serving

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("faults-database")]

NOTICED_WITHIN_S = 30.0
BACK_WITHIN_S = 40.0


Place = tuple[int, str]
"""A port, and the path of a program's health check."""


def all_are(places: list[Place], status: int) -> Callable[[], bool]:
    return lambda: all(health(*place)[0] == status for place in places)


def words(places: list[Place]) -> Callable[[], str]:
    return lambda: str([health(*place) for place in places])


def test_a_proxy_that_stops_forwarding(site: Site, messages: int) -> None:
    """Ingest hung for 15 min 38 s without a line in the log, and its health was ok."""
    (ingest_port,) = free_ports(1)
    with PostgresProxy(site.directory / "proxy", site.database_url) as proxy:
        worker = site.ingest(database_url=proxy.url, INGEST_HTTP_PORT=str(ingest_port))
        with Scheduler(site.directory, proxy.url, "jobs") as jobs, serving(proxy.url) as (http_port, _):
            places = [(ingest_port, "/health"), (jobs.port, "/health"), (http_port, "/health/db-check")]
            sender = site.sender(messages, per_s=messages / 30)
            site.until_stored(messages // 10)
            until(all_are(places, 200), BACK_WITHIN_S, words(places))
            proxy.stall()
            until(all_are(places, 503), NOTICED_WITHIN_S, words(places))
            assert health(http_port)[0] == 200, "nobody is to restart serving for it"
            until(
                lambda: worker.has_logged("store_failed"), NOTICED_WITHIN_S, lambda: "not a line in the log"
            )
            until(lambda: worker.has_logged("outbox_failed"), NOTICED_WITHIN_S, lambda: "commands hang")
            until(lambda: jobs.has_logged("job_failed"), NOTICED_WITHIN_S, lambda: "not a line in the log")
            proxy.flow()
            until(all_are(places, 200), BACK_WITHIN_S, words(places))
            sender.finish(SETTLED_WITHIN_S)
            site.until_stored(sender.sums.messages)


# Packets that are dropped


class Network:
    """A namespace that reaches us by a pair of virtual devices, and so PostgreSQL by TCP."""

    name = f"gridgate-{os.getpid()}"
    ours, theirs = "10.203.7.1", "10.203.7.2"

    def __init__(self) -> None:
        self._device = f"gg{os.getpid() % 100_000}"

    def __enter__(self) -> Self:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            be_without("only root can make a network, with `ip`: `apt-get install iproute2`")
        if subprocess.run(["/bin/ip", "netns", "add", self.name], check=False).returncode != 0:
            pytest.skip("this machine lets nobody make a network")
        self._ip("link", "add", self._device, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        self._ip("address", "add", f"{self.ours}/30", "dev", self._device)
        self._ip("link", "set", self._device, "up")
        for arguments in (
            ("address", "add", f"{self.theirs}/30", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            self._ip("-n", self.name, *arguments)
        self._ip("-n", self.name, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["/bin/ip", "netns", "delete", self.name], check=False)

    def drop(self) -> None:
        """Drop every packet, so that no end of a connection is signalled."""
        self._ip("link", "set", self._device, "down")

    def deliver(self) -> None:
        self._ip("link", "set", self._device, "up")

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run(["/bin/ip", *arguments], check=True)


@contextmanager
def relay(address: str, socket_path: str) -> Iterator[int]:
    """A TCP port at an address that leads to a Unix socket."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((address, 0)))

        def pump(source: socket.socket, target: socket.socket) -> None:
            with suppress(OSError):
                while chunk := source.recv(65_536):
                    target.sendall(chunk)
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)

        def serve() -> None:
            with suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    server = socket.socket(socket.AF_UNIX)
                    server.connect(socket_path)
                    ends = (client, server)
                    stack.callback(client.close)
                    stack.callback(server.close)
                    for pair in (ends, ends[::-1]):
                        threading.Thread(target=pump, args=pair, daemon=True).start()

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


class SchedulerElsewhere(Scheduler):
    """A scheduler in the namespace; its health is read there, as its port cannot be reached from outside."""

    def __init__(self, network: Network, directory: Path, database_url: str) -> None:
        super().__init__(directory, database_url, "elsewhere")
        self._network = network

    def _command(self) -> Any:
        command = super()._command()
        return type(command)(
            argv=["/bin/ip", "netns", "exec", self._network.name, *command.argv],
            env=command.env,
            cwd=command.cwd,
            log=command.log,
        )

    def health(self) -> tuple[int, str]:
        ask = ["/bin/ip", "netns", "exec", self._network.name, "/usr/bin/env", "bash", "-c"]
        script = (
            f"exec 3<>/dev/tcp/{HOST}/{self.port} && printf 'GET /health HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"
        )
        answer = subprocess.run([*ask, script], capture_output=True, text=True, check=False).stdout
        return (int(answer.split()[1]), answer.rpartition("\n")[2]) if answer else (0, "")


def test_packets_that_are_dropped(site: Site) -> None:
    server = f"{site.database_url.partition('host=')[2]}/{SOCKET}"
    with Network() as network, relay(network.ours, server) as port:
        url = f"postgresql://postgres@{network.ours}:{port}/{DATABASE}"
        with SchedulerElsewhere(network, site.directory, url) as jobs:
            until(lambda: jobs.health()[0] == 200, BACK_WITHIN_S, lambda: str(jobs.health()))
            network.drop()
            until(lambda: jobs.health()[0] == 503, NOTICED_WITHIN_S, lambda: str(jobs.health()))
            until(lambda: jobs.has_logged("job_failed"), NOTICED_WITHIN_S, lambda: "not a line in the log")
            network.deliver()
            until(lambda: jobs.health()[0] == 200, BACK_WITHIN_S, lambda: str(jobs.health()))
