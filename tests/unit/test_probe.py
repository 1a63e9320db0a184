"""The probe of a shared subscription: its time, and what it takes for itself."""

import math

import pytest

from ingest.mqtt.packets import MqttVersion, Stream, read_publish
from ingest.receiving.probe import WITHIN_S, SharedSubscriptionProbe


@pytest.fixture
def probe() -> SharedSubscriptionProbe:
    return SharedSubscriptionProbe("ingest-1", MqttVersion.V5)


def payload_of(packet: bytes) -> bytes:
    [only] = Stream().feed(packet)
    return read_publish(only, MqttVersion.V5)[1]


def test_it_is_overdue_after_a_while_and_never_before_it_is_sent(probe: SharedSubscriptionProbe) -> None:
    assert probe.left_s(1e9) == math.inf
    probe.packet(100.0)
    assert probe.left_s(100.0) == WITHIN_S
    probe.postpone(105.0)
    assert probe.left_s(105.0) == WITHIN_S
    assert probe.left_s(200.0) == 0
    probe.cancel()
    probe.postpone(300.0)
    assert (probe.left_s(1e9), probe.is_under_way) == (math.inf, False)


def test_another_process_is_not_taken_for_this_one(probe: SharedSubscriptionProbe) -> None:
    packet = probe.packet(0.0)
    other = SharedSubscriptionProbe("ingest-1", MqttVersion.V5)
    assert other.topic == probe.topic
    assert not other.arrives(payload_of(packet))
    assert not probe.arrives(b"")
    assert probe.is_under_way
    assert probe.arrives(payload_of(packet))
    assert not probe.is_under_way


@pytest.mark.parametrize(
    ("client_id", "topic"),
    [("a", "gridgate/probe/a"), ("a/b+c#", "gridgate/probe/a%2Fb%2Bc%23"), ("ü", "gridgate/probe/%C3%BC")],
)
def test_any_client_id_makes_a_topic_and_a_share(client_id: str, topic: str) -> None:
    probe = SharedSubscriptionProbe(client_id, MqttVersion.V3_1_1)
    name = topic.removeprefix("gridgate/probe/")
    assert (probe.topic, probe.filter) == (topic, f"$share/{name}/{topic}")
