"""From which pages changes are taken."""

import falcon
import pytest
from falcon import Request, testing

from serving.auth.same_origin import SameOrigin


def allows(guard: SameOrigin, origin: str | None, host: str) -> bool:
    headers = {"Host": host} | ({} if origin is None else {"Origin": origin})
    request = Request(testing.create_environ("/api/events", method="POST", headers=headers))
    try:
        guard.check(request)
    except falcon.HTTPForbidden:
        return False
    return True


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://localhost:5173", "localhost:8000", True),  # vite with changeOrigin
        ("http://127.0.0.1:5173", "localhost:8000", True),
        ("http://[::1]:5173", "127.0.0.1:8000", True),
        ("http://127.8.8.8", "127.0.0.1:8000", True),
        ("http://localhost:8000", "localhost:8000", True),
        ("http://evil.example", "localhost:8000", False),
        ("http://localhost.evil.example", "localhost:8000", False),
        ("http://127.0.0.1.evil.example:8000", "127.0.0.1:8000", False),
        ("http://10.0.0.5:5173", "127.0.0.1:8000", False),
        ("http://localhost@evil.example", "localhost:8000", False),
        ("null", "localhost:8000", False),
        ("", "localhost:8000", False),
        ("http://localhost:5173", "evil.example", False),
        (None, "evil.example:port", False),
        (None, "localhost:8000", True),
    ],
)
def test_without_keys_pages_of_this_machine_may_change_things(
    origin: str | None,
    host: str,
    allowed: bool,  # noqa: FBT001
) -> None:
    """A development server in front of the API had every GET answered and every change refused."""
    assert allows(SameOrigin([], is_local_only=True), origin, host) is allowed


@pytest.mark.parametrize("origin", ["http://localhost:5173", "http://127.0.0.1:5173"])
def test_with_keys_loopback_is_foreign(origin: str) -> None:
    assert not allows(SameOrigin([], is_local_only=False), origin, "gridgate.example")


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("http://ui.example:8080", "ui.example", True),  # proxy_set_header Host $host
        ("http://UI.example:8080", "ui.example", True),
        ("http://ui.example:8081", "ui.example", False),
        ("http://ui.example", "ui.example", True),
        ("http://ui.example:8080", "ui.example:9000", False),
        ("http://evil.example:8080", "ui.example", False),
        ("http://ui.example.evil.example:8080", "ui.example", False),
    ],
)
def test_a_proxy_may_drop_the_port_of_a_listed_page(
    origin: str,
    host: str,
    allowed: bool,  # noqa: FBT001
) -> None:
    guard = SameOrigin([], is_local_only=False, page_ports=frozenset({8080}))
    assert allows(guard, origin, host) is allowed
    without = SameOrigin([], is_local_only=False)
    assert allows(without, origin, host) is (origin.endswith(f"//{host}"))
