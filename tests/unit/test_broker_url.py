"""The broker's URL: one login, several hosts."""

import pytest

from schemas.programs.broker_url import parse_broker_url


@pytest.mark.parametrize(
    ("url", "addresses"),
    [
        ("mqtt://broker", [("broker", 1883)]),
        ("mqtts://broker/", [("broker", 8883)]),
        ("mqtt://grid@a, b:1884", [("a", 1883), ("b", 1884)]),
        (
            "mqtts://grid:x%2Cy@a.example,b.example:8884,[::1],[::2]:99",
            [("a.example", 8883), ("b.example", 8884), ("::1", 8883), ("::2", 99)],
        ),
    ],
)
def test_the_hosts_of_a_url_in_their_order(url: str, addresses: list[tuple[str, int]]) -> None:
    assert [tuple(each) for each in parse_broker_url(url).addresses] == addresses
    assert parse_broker_url(url).uses_tls is url.startswith("mqtts")


@pytest.mark.parametrize(
    ("url", "login"),
    [
        ("mqtt://a", (None, None)),
        ("mqtt://grid@a,b", ("grid", "")),
        ("mqtt://gr%40id:p%40ss%2C%3A@a,b", ("gr@id", "p@ss,:")),
    ],
)
def test_the_login_of_a_url_is_the_same_at_each_host(url: str, login: tuple[str | None, str | None]) -> None:
    assert parse_broker_url(url)[1:3] == login


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
