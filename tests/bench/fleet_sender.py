"""A fleet at a steady rate: VEN after VEN reports eight loads, with the time of sending.

`python -m tests.bench.fleet_sender PORT` reads lines of `VENS SECONDS`, sends VENS / 30 messages a second for
that time, and prints how many it has sent in all, and how late the last one was.
"""

import itertools
import socket
import sys
import time

from tests.bench.fleet import LOADS
from tests.bench.sender import PUBACK_BYTES, log_in, publish

EVERY_S = 30
SLICE_S = 0.02
WINDOW = 20_000
_LOADS = ",".join(
    f'{{"id":"{load_id}","type":"{load_id[:-1]}","currentPowerKw":{0.125 * n},"capacityKw":3.5}}'
    for n, load_id in enumerate(LOADS)
)
_REST = f',"usedPowerKw":4.1,"shedPowerKw":0.6,"voltage_v":239.6,"loads":[{_LOADS}]}}'


class Fleet:
    """Sends, and counts what the broker has acknowledged."""

    def __init__(self, broker: socket.socket) -> None:
        self._broker = broker
        self._acknowledged_bytes = 0
        self._numbers = itertools.count()
        self.sent = 0

    def report(self, vens: int, seconds: float) -> float:
        """Send for some time; returns how many seconds late the last messages were."""
        start, sent_before, rate = time.monotonic(), self.sent, vens / EVERY_S
        while (passed_s := time.monotonic() - start) < seconds:
            due = int(rate * passed_s) - (self.sent - sent_before)
            room = WINDOW - (self.sent - self._acknowledged_bytes // PUBACK_BYTES)
            self._send(min(due, room, 500), vens)
            if due <= 0 or room <= 0:
                self._read(SLICE_S)
        return seconds - (self.sent - sent_before) / rate

    def _send(self, count: int, vens: int) -> None:
        if count <= 0:
            return
        now = f"{time.time():.3f}"
        self._broker.sendall(b"".join(self._packet(next(self._numbers), vens, now) for _ in range(count)))
        self.sent += count
        self._read(0)

    def _packet(self, number: int, vens: int, now: str) -> bytes:
        ven_id = f"ven-{number % vens}"
        body = f'{{"schemaVersion":"1.0","venId":"{ven_id}","timestamp":{now}{_REST}'
        return publish(f"oadr/meter/{ven_id}", body.encode(), number % 60_000 + 1)

    def _read(self, timeout_s: float) -> None:
        self._broker.settimeout(timeout_s)
        try:
            self._acknowledged_bytes += len(self._broker.recv(1 << 16))
        except (BlockingIOError, TimeoutError):
            pass
        finally:
            self._broker.settimeout(None)


def main(port: int) -> None:
    with log_in(port) as broker:
        fleet = Fleet(broker)
        print("ready", flush=True)
        for line in sys.stdin:
            vens, seconds = line.split()
            late_s = fleet.report(int(vens), float(seconds))
            print(fleet.sent, round(late_s, 2), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
