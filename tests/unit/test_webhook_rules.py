"""Addresses that webhooks may go to, their waits, and the signature."""

import json
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from types import SimpleNamespace
from typing import Any

import pytest
import standardwebhooks
from hypothesis import given
from hypothesis import strategies as st

from jobs.webhooks.policy import LONGEST_WAIT, WebhookPolicy
from jobs.webhooks.sender import HeldWebhook, message
from schemas.webhooks import check_url, is_allowed, new_secret

FORBIDDEN = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",  # noqa: S104 - an address to refuse
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "192.0.2.1",
    "::1",
    "::",
    "fe80::1",
    "fec0::1",
    "fc00::1",
    "fd12:3456::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "64:ff9b::7f00:1",
    "64:ff9b::a00:1",
    "2002:7f00:1::",
    "2002:a00:1::1",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]


@pytest.mark.parametrize("text", FORBIDDEN)
def test_addresses_within_are_forbidden(text: str) -> None:
    """In all their spellings."""
    assert not is_allowed(ip_address(text), [])
    host = f"[{text}]" if ":" in text else text
    with pytest.raises(ValueError, match="WEBHOOK_NETWORKS"):
        check_url(f"https://{host}/hook", [])


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_allowed(text: str) -> None:
    assert is_allowed(ip_address(text), [])


@pytest.mark.parametrize("text", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::a01:203"])
def test_networks_of_the_settings_are_allowed(text: str) -> None:
    assert is_allowed(ip_address(text), [ip_network("10.1.0.0/16")])
    assert not is_allowed(ip_address(text), [ip_network("10.2.0.0/16"), ip_network("fc00::/7")])


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hook",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://",
        "https://user@example.com/",
        "https://user:word@example.com/",
        "https://example.com/#there",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://exa mple.com/",
        "https://example.com/\n",
        "https://[::1",
        "https://b\u00fccher.example/",
        "https://example.com/" + "x" * 2_100,
    ],
)
def test_what_is_no_url_of_a_receiver_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must"):
        check_url(url, [])


def test_urls_of_receivers_are_accepted() -> None:
    for url in ("https://example.com", "https://example.com:8443/a?b=c", "http://intern.example/hook"):
        check_url(url, [])


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_waits_double_up_to_an_hour_with_jitter(failures: int, chance: float) -> None:
    policy = WebhookPolicy(retry=timedelta(seconds=5))
    wait = policy.wait(failures, lambda: chance)
    longest = min(timedelta(seconds=5) * 2 ** min(failures - 1, 12), LONGEST_WAIT)
    assert longest / 2 <= wait <= longest


def delivery(data: str) -> Any:
    at = datetime(2026, 3, 1, 12, 0, 0, 500_000, UTC)
    return SimpleNamespace(delivery_id=7, type="event.changed", data=data, created_at=at)


def test_a_message_is_signed_as_receivers_check_it() -> None:
    """By the package that they use; another secret, body or id is refused."""
    secret, now = new_secret(), datetime.now(UTC)
    webhook = HeldWebhook("w", "https://example.com", secret, 0, None)
    headers, body = message(webhook, delivery('{"id": "ü"}'), now)
    assert "Authorization" not in headers
    told = standardwebhooks.Webhook(secret).verify(body, headers)
    assert told == {"type": "event.changed", "timestamp": "2026-03-01T12:00:00.500000Z", "data": {"id": "ü"}}
    assert json.loads(body) == told
    for wrong_secret, wrong_body, wrong in (
        (new_secret(), body, {}),
        (secret, body + b" ", {}),
        (secret, body, {"webhook-id": "msg_8"}),
        (secret, body, {"webhook-timestamp": str(int(now.timestamp()) + 1)}),
    ):
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(wrong_secret).verify(wrong_body, headers | wrong)


def test_a_notification_of_openadr_is_sent_as_it_is_with_its_token() -> None:
    secret, now = new_secret(), datetime.now(UTC)
    webhook = HeldWebhook("w", "https://example.com", secret, 0, None, "subscription", "s3cret")
    headers, body = message(webhook, delivery('{"objectType": "EVENT"}'), now)
    assert (json.loads(body), headers["Authorization"]) == ({"objectType": "EVENT"}, "Bearer s3cret")
    assert standardwebhooks.Webhook(secret).verify(body, headers) == {"objectType": "EVENT"}
