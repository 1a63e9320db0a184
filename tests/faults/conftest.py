"""One site for each test: nothing that a fault breaks is shared."""

import os
import shutil
import tempfile
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
def place(tmp_path: Path) -> Iterator[Path]:
    """Where everything has its files. When the test is over, pytest's own directory keeps the logs.

    It is not below that: another session of pytest closes that one to other users, and as root PostgreSQL
    runs as one.
    """
    with tempfile.TemporaryDirectory(prefix="gridgate-faults-", ignore_cleanup_errors=True) as directory:
        yield Path(directory)
        shutil.copytree(Path(directory, "logs"), tmp_path / "logs")


@pytest.fixture
def broker(request: pytest.FixtureRequest, place: Path) -> Mosquitto | EmbeddedBroker:
    """A mosquitto; for a test that is parametrised so, the broker of `local`."""
    if getattr(request, "param", "mosquitto") == "embedded":
        mqtt, mqtt5 = free_ports(2)
        return EmbeddedBroker(place, mqtt_port=mqtt, mqtt5_port=mqtt5)
    return Mosquitto(place)


@pytest.fixture
def site(broker: Mosquitto | EmbeddedBroker, place: Path) -> Iterator[Site]:
    built = Site(place, broker)
    try:
        built.start()
        yield built
    finally:
        built.end()
