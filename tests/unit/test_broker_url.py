"""The broker's URL: one login, several hosts."""

import pytest

from schemas.broker_url import BrokerUrl, parse_broker_url

TLS, PLAIN = True, False


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://broker", BrokerUrl(PLAIN, None, None, (("broker", 1883),))),
        ("mqtts://broker/", BrokerUrl(TLS, None, None, (("broker", 8883),))),
        (
            "mqtts://gr%40id:p%40ss%2C%3A@a.example,b.example:8884,[::1],[::2]:99",
            BrokerUrl(
                TLS,
                "gr@id",
                "p@ss,:",
                (("a.example", 8883), ("b.example", 8884), ("::1", 8883), ("::2", 99)),
            ),
        ),
        ("mqtt://grid@a, b:1884", BrokerUrl(PLAIN, "grid", "", (("a", 1883), ("b", 1884)))),
    ],
)
def test_a_url_in_its_parts(url: str, expected: BrokerUrl) -> None:
    assert parse_broker_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "http://broker",
        "mqtt://",
        "mqtt://a,",
        "mqtt://a,,b",
        "mqtt://a:0",
        "mqtt://a:99999",
        "mqtt://a:port,b",
        "mqtt://a/path",
        "mqtt://a,b/path",
        "mqtt://a?x=1",
        "mqtt://:password@a",
        "mqtt://a,mqtt://b",
        "mqtt://[::1",
    ],
)
def test_what_is_none(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of any kind: the settings translate it
        parse_broker_url(url)
