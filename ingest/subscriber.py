"""The broker's side of ingest: messages in, acknowledgements out, a session that outlives the connection."""

import threading
from collections.abc import Callable
from datetime import datetime
from itertools import cycle

import structlog

from ingest.broker import FIRST_PAUSE_S, LONGEST_PAUSE_S, addresses_of, login_for, tls_for
from ingest.inbox import Inbox
from ingest.messages import Received
from ingest.mqtt import packets
from ingest.mqtt.connection import Connection, LoginRefusedError
from ingest.mqtt.link import Link
from ingest.mqtt.packets import Kind, Packet, ProtocolError, Subscription
from ingest.settings import IngestSettings

FAREWELL_S = 2.0
REFUSED = 0x80
TLS_ADVICE = {"fix": "see MQTT_CA_FILE (the broker's authority), MQTT_CERT_FILE and MQTT_KEY_FILE (ours)"}
"""Before the login: a broker that wants another certificate of us may just hang up."""


class Subscriber:
    """A durable subscription, on a thread of its own.

    A packet id names a message only within one connection; so an acknowledgement carries the number of the
    connection that its message came by, and one from before a reconnect is dropped: the broker sends that
    message again, and the database knows it already.

    Until they are acknowledged, about twice `mqtt_receive_maximum` messages are here, whatever the broker
    sends (mosquitto 2.0.11 goes beyond the receive maximum once acknowledgements flow). After a reconnect
    what comes again comes on top of what the worker has, before the answer to our subscription.
    """

    def __init__(
        self, settings: IngestSettings, clock: Callable[[], datetime], on_change: Callable[[bool], None]
    ) -> None:
        self._addresses = cycle(addresses_of(settings))
        self._address = addresses_of(settings)[0]
        self._tls = tls_for(settings)
        self._login = login_for(settings)
        self._subscription = Subscription(self._login.version, 1, settings.subscriptions)
        self._clock = clock
        self._on_change = on_change
        self._inbox = Inbox(2 * settings.mqtt_receive_maximum)
        self._link: tuple[int, Link | None] = 0, None
        self._session_since = 1
        self._is_answered = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="broker")
        self._log = structlog.get_logger()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Leave; the broker keeps the session, and in it whatever was not acknowledged."""
        self._stopping.set()
        self._wake()
        self._thread.join()

    def take(self, most: int, most_bytes: int, timeout_s: float) -> list[Received]:
        """Whatever has arrived, waiting up to `timeout_s` for the first message, or for a nudge."""
        return self._inbox.take(most, most_bytes, timeout_s)

    def nudge(self) -> None:
        """End the waiting of `take`."""
        self._inbox.nudge()

    def acknowledge(self, messages: list[Received]) -> None:
        """Tell the broker that these are stored, in the order in which it sent them."""
        number, link = self._link
        ids = [packet_id for connection, packet_id in (m.delivery for m in messages) if connection == number]
        self._inbox.release(messages)
        if link is not None:
            link.send(packets.acknowledgements(filter(None, ids)))

    def _wake(self) -> None:
        _, link = self._link
        if link is not None:
            link.wake()

    def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            before, _ = self._link
            self._connect_once()
            pause_s = FIRST_PAUSE_S if self._link[0] > before else min(2 * pause_s, LONGEST_PAUSE_S)
            self._stopping.wait(pause_s)

    def _connect_once(self) -> None:
        """One connection, from its beginning to its end, whichever way it ends."""
        before, _ = self._link
        self._address = next(self._addresses)
        try:
            with Link(*self._address, self._tls) as link:
                self._converse(link, Connection(link, self._login))
        except LoginRefusedError as error:
            self._log.error("broker_refused", reason=str(error), fix="see MQTT_URL and the broker's log")
        except (OSError, ProtocolError) as error:
            advice = TLS_ADVICE if self._tls is not None and self._link[0] == before else {}
            protocol = self._login.version.name
            self._log.warning("broker_disconnected", reason=str(error), mqtt_protocol=protocol, **advice)
        finally:
            self._link = self._link[0], None
            self._on_change(False)  # noqa: FBT003 - connected or not is all there is to say

    def _converse(self, link: Link, connection: Connection) -> None:
        self._log.info("broker_connected", client_id=self._login.client_id)
        if connection.has_session:
            # The broker sends again what it has no acknowledgement of. Without this, each reconnect while the
            # database is away would add a whole window to what waits here.
            self._inbox.drop_waiting(self._comes_again)
        else:
            self._session_since = self._link[0] + 1
        self._link = self._link[0] + 1, link
        self._is_answered = False
        link.send(self._greeting())
        while not self._stopping.is_set():
            self._receive(connection.receive(reads=self._reads))
        link.send(packets.DISCONNECT)
        link.finish(FAREWELL_S)

    @property
    def _reads(self) -> bool:
        """Whether there is room; and for the answer to our greeting, nearly always."""
        return self._inbox.has_room or (not self._is_answered and self._inbox.is_light)

    def _comes_again(self, message: Received) -> bool:
        """Not what came with QoS 0, nor what only a session before this one held."""
        number, packet_id = message.delivery
        return packet_id != 0 and number >= self._session_since

    def _greeting(self) -> bytes:
        return self._subscription.encode()

    def _receive(self, arrived: list[Packet]) -> None:
        number, now = self._link[0], self._clock()
        messages = []
        for packet in arrived:
            if packet.head >> 4 == Kind.PUBLISH:
                topic, payload, packet_id = packets.read_publish(packet, self._login.version)
                messages.append(Received(topic, payload, now, (number, packet_id), bool(packet.head & 1)))
            else:
                self._hear(packet)
        if messages:
            self._inbox.put(messages)

    def _hear(self, packet: Packet) -> None:
        match packet.kind:
            case Kind.SUBACK:
                self._subscribed(packet)
            case Kind.DISCONNECT:
                raise ConnectionResetError(f"the broker left: {packets.read_disconnect(packet)}")
            case Kind.PINGRESP:
                pass
            case kind:
                raise ProtocolError(f"a packet that we did not ask for (type {kind})")

    def _subscribed(self, packet: Packet) -> None:
        self._is_answered = True
        _, codes = packets.read_suback(packet, self._login.version)
        filters = self._subscription.filters
        if len(codes) != len(filters):
            raise ProtocolError(f"{len(codes)} answers to {len(filters)} subscriptions")
        refused = [topic for topic, code in zip(filters, codes, strict=True) if code >= REFUSED]
        if refused:
            self._log.error(
                "subscription_refused", topics=refused, fix="see MQTT_TOPICS and the broker's ACL"
            )
        else:
            self._log.info("subscribed", topics=self._subscription.filters)
            self._on_change(True)  # noqa: FBT003
