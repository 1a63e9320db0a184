"""The client's address behind proxies: no client can forge it."""

from ipaddress import ip_network

import pytest

from serving.auth.proxies import TrustedProxies

OURS = TrustedProxies([ip_network("10.0.0.0/8"), ip_network("127.0.0.1"), ip_network("::1")])
CLIENT = "192.0.2.9"


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("127.0.0.1", CLIENT, CLIENT),
        ("::1", CLIENT, CLIENT),
        ("::ffff:127.0.0.1", CLIENT, CLIENT),
        ("127.0.0.1", f"6.6.6.6, {CLIENT}", CLIENT),
        ("127.0.0.1", f"6.6.6.6, {CLIENT}, 10.1.2.3", CLIENT),
        ("127.0.0.1", f"{CLIENT}:50123", CLIENT),
        ("127.0.0.1", "[2001:db8::1]:50123", "2001:db8::1"),
        ("127.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("127.0.0.1", "10.1.2.3, 10.1.2.4", "10.1.2.3"),
        (CLIENT, "6.6.6.6", CLIENT),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "6.6.6.6, ", "127.0.0.1"),
        ("127.0.0.1", "6.6.6.6, unknown", "127.0.0.1"),
        ("127.0.0.1", "6.6.6.6, fe80::1%<b>, 10.1.2.3", "10.1.2.3"),
        ("", "6.6.6.6", ""),
    ],
)
def test_the_last_that_is_none_of_ours(peer: str, forwarded: str, client: str) -> None:
    assert OURS.client(peer, forwarded) == client


def test_only_a_trusted_proxy_names_the_client() -> None:
    env = {"REMOTE_ADDR": "127.0.0.1", "HTTP_X_FORWARDED_FOR": CLIENT}
    TrustedProxies().set_client_address(env)
    assert env["REMOTE_ADDR"] == "127.0.0.1"
    OURS.set_client_address(env)
    assert env["REMOTE_ADDR"] == CLIENT
