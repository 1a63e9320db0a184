"""One site for each test, so that a fault affects no other test."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.broker import EmbeddedBroker
from local.ports import free_ports
from tests.faults.mosquitto import Mosquitto
from tests.faults.site import Site


@pytest.fixture
def messages() -> int:
    return int(os.environ.get("GRIDGATE_FAULT_MESSAGES", "20000"))


@pytest.fixture
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Mosquitto | EmbeddedBroker:
    """A mosquitto, or the embedded broker of `local` for the parameter `embedded`."""
    if getattr(request, "param", "mosquitto") == "embedded":
        mqtt, mqtt5 = free_ports(2)
        return EmbeddedBroker(tmp_path, mqtt_port=mqtt, mqtt5_port=mqtt5)
    return Mosquitto(tmp_path)


@pytest.fixture
def site(broker: Mosquitto | EmbeddedBroker, tmp_path: Path) -> Iterator[Site]:
    built = Site(tmp_path, broker)
    try:
        built.start()
        yield built
    finally:
        built.end()
        shutil.rmtree(tmp_path / "postgres", ignore_errors=True)  # hundreds of megabytes; the logs stay
