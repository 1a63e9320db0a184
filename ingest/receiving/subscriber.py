"""Subscribes at the broker: messages in, acknowledgements out, in a session that outlives connections."""

import threading
import time
from collections.abc import Callable
from datetime import datetime
from itertools import cycle

import structlog
from msgspec.structs import replace

from ingest.decoding.messages import Received
from ingest.mqtt import packets
from ingest.mqtt.connection import Connection, HungUpError, LoginRefusedError
from ingest.mqtt.link import Link
from ingest.mqtt.packets import Accepted, Kind, MqttVersion, Packet, ProtocolError, SubscribeRequest
from ingest.receiving.broker import FIRST_PAUSE_S, LONGEST_PAUSE_S, addresses_of, login_for, tls_for
from ingest.receiving.inbox import Inbox
from ingest.receiving.probe import SharedSubscriptionProbe
from ingest.settings import IngestSettings

FAREWELL_S = 2.0
REFUSED = 0x80
TLS_ADVICE = "see MQTT_CA_FILE (the broker's authority), MQTT_CERT_FILE and MQTT_KEY_FILE (ours)"
"""Also before the login: a broker that requires another client certificate may just close the connection."""
LOGIN_ADVICE = "see MQTT_URL and the broker's log"
OLDER_ADVICE = "this broker supports 3.1.1 only: set MQTT_PROTOCOL=3.1.1"
SHARE_ADVICE = "unset MQTT_SHARE_GROUP and run one ingest, or use a broker that supports shared subscriptions"
PROBE_ADVICE = f"{SHARE_ADVICE}; or let its ACL allow us to read and write gridgate/probe/+"
NOT_SUBSCRIBED = "the broker does not hold our subscriptions"
UNPROVEN = "nothing arrives by the shared subscription, not even our own probe: the broker seems to have none"


class UnsuitableBrokerError(ConnectionError):
    """The broker lacks a capability that Gridgate needs."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.fix = fix


class Subscriber:
    """A durable subscription, on a thread of its own.

    A packet id names a message only within one connection; so an acknowledgement carries the number of the
    connection that delivered its message, and one from before a reconnect is dropped: the broker redelivers
    that message, and storing it is idempotent.

    At most about twice `mqtt_receive_maximum` unacknowledged messages are held, whatever the broker sends
    (mosquitto 2.0.11 exceeds the receive maximum once acknowledgements flow). After a reconnect redelivered
    messages come on top of those that the worker has, and before the SUBACK.

    `on_change` is called with None when messages can arrive, else with the reason why not;
    `on_session_lost` when the broker has lost a session, and the messages queued in it.
    """

    def __init__(
        self,
        settings: IngestSettings,
        clock: Callable[[], datetime],
        on_change: Callable[[str | None], None],
        on_session_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._addresses = cycle(addresses_of(settings))
        self._address = addresses_of(settings)[0]
        self._tls = tls_for(settings)
        self._login = login_for(settings)
        self._probe = _probe_for(settings, self._login.version)
        filters = settings.subscriptions + ([self._probe.filter] if self._probe else [])
        self._subscription = SubscribeRequest(self._login.version, 1, filters)
        self._clock = clock
        self._on_change = on_change
        self._on_session_lost = on_session_lost
        self._inbox = Inbox(2 * settings.mqtt_receive_maximum)
        self._acknowledging = threading.Lock()
        self._link: tuple[int, Link | None] = 0, None
        self._session_since = 1
        self._is_answered = False
        self._trouble: str | None = NOT_SUBSCRIBED
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="broker")
        self._log = structlog.get_logger()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Disconnect; the broker keeps the session with all unacknowledged messages."""
        self._stopping.set()
        self._wake()
        self._thread.join()

    def take(self, most: int, most_bytes: int, timeout_s: float) -> list[Received]:
        """Return the messages that have arrived; waits up to `timeout_s` for the first, or for `wake`."""
        return self._inbox.take(most, most_bytes, timeout_s)

    def give_back(self, messages: list[Received]) -> None:
        """Put back taken messages that a process could not store."""
        self._inbox.put_back(messages)

    def wake(self) -> None:
        """Make a blocked `take` return."""
        self._inbox.wake()

    def acknowledge(self, messages: list[Received]) -> None:
        """Acknowledge messages to the broker, in the order in which it sent them; from any thread."""
        with self._acknowledging:
            ids = self._inbox.release(messages)
            _, link = self._link
            if ids and link is not None:
                link.send(packets.acknowledgements(ids))

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
        """Connect to the next host, and receive until the connection ends for any reason."""
        before, _ = self._link
        self._address = next(self._addresses)
        reason = NOT_SUBSCRIBED
        try:
            with Link(*self._address, self._tls) as link:
                self._converse(link, Connection(link, self._login))
        except LoginRefusedError as error:
            reason = self._fail("broker_refused", error, OLDER_ADVICE if error.is_older else LOGIN_ADVICE)
        except UnsuitableBrokerError as error:
            reason = self._fail("broker_unsuitable", error, error.fix)
        except (OSError, ProtocolError) as error:
            reason = self._disconnected(error, has_logged_in=self._link[0] > before)
        finally:
            self._link = self._link[0], None
            self._change(reason)

    def _disconnected(self, error: Exception, *, has_logged_in: bool) -> str:
        fix = None
        if isinstance(error, HungUpError) and self._is_older():
            return self._fail("broker_refused", error, OLDER_ADVICE)
        if has_logged_in and not self._is_answered and self._probe is not None:
            fix = SHARE_ADVICE
        elif not has_logged_in and self._tls is not None:
            fix = TLS_ADVICE
        protocol = self._login.version.name
        advice = {} if fix is None else {"fix": fix}
        self._log.warning(
            "broker_disconnected", reason=str(error), host=self._host, mqtt_protocol=protocol, **advice
        )
        return "; ".join([f"not connected to the broker {self._host}: {error}", *advice.values()])

    def _fail(self, event: str, error: Exception, fix: str) -> str:
        self._log.error(event, reason=str(error), host=self._host, fix=fix)
        return f"{self._host}: {error}; {fix}"

    @property
    def _host(self) -> str:
        return self._address.shown

    def _is_older(self) -> bool:
        """Return whether a broker that closes at a CONNECT of MQTT 5 answers one of MQTT 3.1.1."""
        if self._login.version is not MqttVersion.V5:
            return False
        client_id = f"{self._login.client_id}-3.1.1"
        login = replace(self._login, version=MqttVersion.V3_1_1, client_id=client_id, is_clean=True)
        try:
            with Link(*self._address, self._tls) as link:
                Connection(link, login)
                link.send(packets.DISCONNECT)
                link.finish(FAREWELL_S)
        except LoginRefusedError:
            return True  # any CONNACK will do
        except (OSError, ProtocolError):
            return False
        return True

    def _converse(self, link: Link, connection: Connection) -> None:
        self._log.info(
            "broker_connected", client_id=self._login.client_id, host=self._host, **connection.accepted.limits
        )
        self._require(connection.accepted)
        self._resume(has_session=connection.accepted.has_session)
        with self._acknowledging:
            self._inbox.forget_order()
            self._link = self._link[0] + 1, link
        self._is_answered = False
        if self._probe is not None:
            self._probe.cancel()
        link.send(self._greeting())
        while not self._stopping.is_set():
            self._receive(connection.receive(reads=self._reads, within_s=self._probe_left_s()))
            self._watch_probe()
        link.send(packets.DISCONNECT)
        link.finish(FAREWELL_S)

    def _require(self, accepted: Accepted) -> None:
        """Check that the broker's CONNACK offers what we need.

        Raises:
            UnsuitableBrokerError: it lacks a kind of subscription that we use, or QoS 1.
        """
        if self._probe is not None and not accepted.has_shared:
            raise UnsuitableBrokerError("the broker has no shared subscriptions", SHARE_ADVICE)
        wild = [topic for topic in self._subscription.filters if "+" in topic or "#" in topic]
        if wild and not accepted.has_wildcards:
            raise UnsuitableBrokerError("the broker has no wildcards in topic filters", "see MQTT_TOPICS")
        if accepted.session_expiry_s is not None and accepted.session_expiry_s < self._login.session_expiry_s:
            self._log.warning(
                "session_expiry_shortened",
                session_expiry_s=accepted.session_expiry_s,
                fix="raise the broker's limit, or lower MQTT_SESSION_EXPIRY_S to it",
            )

    def _resume(self, *, has_session: bool) -> None:
        if has_session:
            # The broker redelivers what was not acknowledged. Without this, each reconnect during a database
            # outage would add a whole receive maximum to the queue.
            self._inbox.drop_waiting(self._comes_again)
            return
        had_session = self._link[0] > 0 and self._login.is_durable
        self._session_since = self._link[0] + 1
        if had_session:
            self._on_session_lost()
            self._log.error(
                "session_lost",
                reason="the broker has lost our session, and the messages queued in it",
                fix="see the broker's persistence, and MQTT_SESSION_EXPIRY_S",
            )
        else:
            self._log.warning(
                "session_new",
                reason="the broker has no session for this MQTT_CLIENT_ID: normal at the first start only",
            )

    @property
    def _reads(self) -> bool:
        """Whether to read from the broker: if there is room, and nearly always while a SUBACK is due."""
        return self._inbox.has_room or (not self._is_answered and self._inbox.is_light)

    def _comes_again(self, message: Received) -> bool:
        """Return whether the broker will redeliver a message: at QoS 1, in this session."""
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
                if self._probe is not None and topic == self._probe.topic:
                    self._receive_probe(self._probe, payload, packet_id)
                else:
                    messages.append(Received(topic, payload, now, (number, packet_id), bool(packet.head & 1)))
            else:
                self._hear(packet)
        if messages:
            self._inbox.put(messages)
            self._postpone_probe()

    def _hear(self, packet: Packet) -> None:
        match packet.kind:
            case Kind.SUBACK:
                self._subscribed(packet)
            case Kind.DISCONNECT:
                raise ConnectionResetError(f"the broker left: {packets.read_disconnect(packet)}")
            case Kind.PINGRESP:
                pass
            case kind:
                raise ProtocolError(f"an unexpected packet (type {kind})")

    def _subscribed(self, packet: Packet) -> None:
        self._is_answered = True
        _, codes = packets.read_suback(packet, self._login.version)
        filters = self._subscription.filters
        if len(codes) != len(filters):
            raise ProtocolError(f"{len(codes)} answers to {len(filters)} subscriptions")
        refused = [topic for topic, code in zip(filters, codes, strict=True) if code >= REFUSED]
        unsafe = [topic for topic, code in zip(filters, codes, strict=True) if code == 0]
        if refused:
            fix = "see MQTT_TOPICS and the broker's ACL"
            self._log.error("subscription_refused", topics=refused, fix=fix)
            self._change(f"the broker refuses {', '.join(refused)}; {fix}")
        elif unsafe:
            self._log.error("subscription_without_acknowledgements", topics=unsafe, reason="granted QoS 0")
            self._change(f"the broker grants only QoS 0 for {', '.join(unsafe)}: messages could be lost")
        else:
            self._log.info("subscribed", topics=self._subscription.filters)
            if self._probe is None:
                self._change(None)
            else:
                self._send_probe(self._probe)

    def _change(self, trouble: str | None) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            self._on_change(trouble)

    # The probe of a shared subscription

    def _send_probe(self, probe: SharedSubscriptionProbe) -> None:
        _, link = self._link
        if link is not None:
            link.send(probe.packet(time.monotonic()))

    def _receive_probe(self, probe: SharedSubscriptionProbe, payload: bytes, packet_id: int) -> None:
        number, link = self._link
        if packet_id and link is not None:
            link.send(packets.acknowledgements([packet_id]))
        if probe.arrives(payload):
            self._log.info("shared_subscription_proven", connection=number)
            self._change(None)

    def _postpone_probe(self) -> None:
        """Restart the probe's timeout while messages arrive: it may be queued behind a backlog."""
        if self._probe is not None and self._probe.is_under_way:
            self._probe.postpone(time.monotonic())
            self._change(None)

    def _probe_left_s(self) -> float:
        return float("inf") if self._probe is None else self._probe.left_s(time.monotonic())

    def _watch_probe(self) -> None:
        if self._probe is not None and self._probe_left_s() == 0:
            self._log.error("shared_subscription_unproven", reason=UNPROVEN, fix=PROBE_ADVICE)
            self._change(f"{UNPROVEN}; {PROBE_ADVICE}")
            self._send_probe(self._probe)


def _probe_for(settings: IngestSettings, version: MqttVersion) -> SharedSubscriptionProbe | None:
    if not settings.mqtt_share_group:
        return None
    return SharedSubscriptionProbe(settings.mqtt_client_id, version)
