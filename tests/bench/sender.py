"""A cheap sender for a fleet: packets encoded beforehand, one socket, a window in flight.

`python -m tests.bench.sender PORT VENS ROUNDS FIRST_S` prints `ready`, waits for a line, sends, prints
`sent`.
"""

import socket
import sys
from collections.abc import Iterable
from datetime import UTC, datetime

from ingest.decoding.messages import Received
from ingest.mqtt.packets import Connect, MqttVersion
from local.ports import HOST
from tests.bench.fleet import reports

WINDOW = 4_000
PIECE = 50
PUBACK_BYTES = 4


def publish(topic: str, payload: bytes, packet_id: int) -> bytes:
    """A PUBLISH of MQTT 3.1.1 at QoS 1."""
    name = topic.encode()
    body = len(name).to_bytes(2) + name + packet_id.to_bytes(2) + payload
    length, digits = len(body), bytearray()
    while length > 0x7F:
        digits.append(length & 0x7F | 0x80)
        length >>= 7
    return b"\x32" + bytes([*digits, length]) + body


def make_packets(messages: Iterable[Received]) -> list[bytes]:
    return [publish(m.topic, m.payload, number % 60_000 + 1) for number, m in enumerate(messages)]


def log_in(port: int) -> socket.socket:
    broker = socket.create_connection((HOST, port))
    broker.sendall(Connect(MqttVersion.V3_1_1, "bench-sender", keepalive_s=0, is_clean=True).encode())
    broker.recv(4)
    return broker


def main(port: int, vens: int, rounds: int, first_s: int) -> None:
    packets = make_packets(reports(vens, rounds, datetime.fromtimestamp(first_s, UTC)))
    with log_in(port) as broker:
        print("ready", flush=True)
        sys.stdin.readline()
        send(broker, packets)
        print("sent", flush=True)
        sys.stdin.readline()


def send(broker: socket.socket, packets: list[bytes]) -> None:
    """Send all; returns when the broker has acknowledged the last."""
    sent = acknowledged_bytes = 0
    while acknowledged_bytes < PUBACK_BYTES * len(packets):
        end = min(len(packets), sent + PIECE, acknowledged_bytes // PUBACK_BYTES + WINDOW)
        if sent < end:
            broker.sendall(b"".join(packets[sent:end]))
            sent = end
        else:
            acknowledged_bytes += len(broker.recv(1 << 16))


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:5]))
