"""`/docs`, as a person uses it in a headless Chromium: with a key, and with nothing else to reach."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Route, expect

from local.environment import REPOSITORY, inherited_environment
from local.ports import HOST, answers, free_ports
from tests.e2e.test_dashboard import DESK, WITHIN_MS, browser
from tests.integration.published import until

__all__ = ["browser"]


@pytest.fixture
def service(database_url: str) -> Iterator[tuple[str, str]]:
    """Its address, and a key of a viewer."""
    (port,) = free_ports(1)
    environment = inherited_environment(
        DATABASE_URL=database_url,
        HTTP_HOST=HOST,
        HTTP_PORT=str(port),
        LOG_LEVEL="error",
    )
    making = [sys.executable, "-m", "serving", "keys", "create", "tests", "--role", "viewer"]
    made = subprocess.run(making, cwd=REPOSITORY, env=environment, check=True, capture_output=True, text=True)
    with subprocess.Popen([sys.executable, "-m", "serving"], cwd=REPOSITORY, env=environment) as process:
        try:
            until(lambda: answers(port) or process.poll() is not None, within_s=60)
            assert process.poll() is None
            yield f"http://{HOST}:{port}", made.stdout.split()[-1]
        finally:
            process.terminate()


@pytest.mark.thorough
def test_it_is_read_and_tried_with_a_key(browser: Browser, service: tuple[str, str]) -> None:
    url, key = service
    elsewhere, complaints = list[str](), list[str]()

    def hold(route: Route) -> None:
        if route.request.url.startswith((url, "data:", "blob:")):
            route.continue_()
        else:
            elsewhere.append(route.request.url)
            route.abort()

    page = browser.new_page(viewport=DESK)
    page.set_default_timeout(WITHIN_MS)
    expect.set_options(timeout=WITHIN_MS)
    page.route("**/*", hold)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: (
            complaints.append(message.text) if "Content Security Policy" in message.text else None
        ),
    )
    page.goto(f"{url}/docs#/statistics/getNetworkStats")
    operation = page.locator("#operations-statistics-getNetworkStats")
    expect(operation).to_be_visible()
    tried = operation.get_by_role("button", name="Execute")
    answer = operation.locator(".live-responses-table .response-col_status").last
    tried.click()
    expect(answer).to_contain_text("401")
    page.get_by_role("button", name="Authorize").first.click()
    dialog = page.locator(".dialog-ux")
    dialog.get_by_label("auth-bearer-value").fill(key)
    dialog.get_by_role("button", name="Apply credentials").first.click()
    dialog.get_by_role("button", name="Close").last.click()
    tried.click()
    expect(answer).to_contain_text("200")
    expect(operation.locator(".live-responses-table")).to_contain_text("venCount")
    page.close()
    assert (elsewhere, complaints) == ([], [])
