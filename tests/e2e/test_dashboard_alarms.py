"""Alarms on the dashboard: shown as they are raised, acknowledged, cleared."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from schemas.db.connections import connect
from tests.e2e.test_dashboard import DESK, PHONE, ask, barriers, browser, opened, page, stack
from tests.e2e.test_dashboard_events import go

__all__ = ["browser", "page", "stack"]
pytestmark = [pytest.mark.xdist_group("local"), pytest.mark.thorough]

RAISE = (
    "INSERT INTO alarms (kind, subject, detail, value, worst_value, threshold, raised_at)"
    " VALUES ('disk_full', %s, %s, 96, 97, 90, clock_timestamp())"
)
CLEAR = "UPDATE alarms SET cleared_at = clock_timestamp() WHERE subject = %s"
Raise = Callable[[str], None]


@pytest.fixture
def connection(stack: dict[str, Any]) -> Iterator[psycopg.Connection]:
    with connect(stack["database_url"], "tests") as connection:
        yield connection


@pytest.fixture
def raised(connection: psycopg.Connection) -> Iterator[Raise]:
    """Raises an alarm of a subject that the jobs do not know, and so leave open."""

    def raised(subject: str) -> None:
        connection.execute(RAISE.encode(), [subject, f"The disk {subject} is full to 96 %."])
        connection.commit()

    yield raised
    connection.execute("DELETE FROM alarms")
    connection.commit()


def row(page: Page, subject: str) -> Any:
    return page.locator("#alarms-table tbody tr", has_text=subject)


def test_an_alarm_is_shown_acknowledged_and_cleared(
    page: Page, stack: dict[str, Any], raised: Raise, connection: psycopg.Connection
) -> None:
    """By the stream, without a reload; with the keyboard alone."""
    badge = page.locator("#alarms-open")
    expect(badge).to_be_hidden()
    raised("/one")
    expect(badge).to_have_text("1 new")
    page.get_by_role("link", name="Alarms").press("Enter")
    expect(row(page, "/one")).to_contain_text("critical")
    expect(row(page, "/one")).to_contain_text("96.00 % (90.00, 97.00)")
    raised("/two")
    expect(row(page, "/two")).to_be_visible()
    expect(page.locator("#alarms-count")).to_have_text("2 alarms, the newest first")
    page.get_by_role("button", name="Acknowledge: The disk /one").press("Enter")
    expect(row(page, "/one")).to_contain_text("anonymous, ")
    expect(badge).to_have_text("1 new")
    [alarm] = [each for each in ask(stack, "/api/alarms") if each["subject"] == "/one"]
    assert alarm["acknowledgedBy"] == "anonymous"
    connection.execute(CLEAR.encode(), ["/one"])
    connection.commit()
    expect(row(page, "/one")).to_have_count(0)
    page.locator("#alarms-filter").get_by_label("State").select_option("cleared")
    expect(row(page, "/one")).to_be_visible()
    expect(row(page, "/two")).to_have_count(0)
    assert "state=cleared" in page.url
    page.reload()
    expect(row(page, "/one")).to_be_visible()
    page.locator("#alarms-filter").get_by_label("Kind").select_option("jobs_late")
    expect(page.locator("#alarms-table")).to_have_text("There is no such alarm.")


def test_what_raises_alarms_is_listed(page: Page, stack: dict[str, Any]) -> None:
    go(page, "#/alarms")
    expect(page.locator("#alarms-table")).to_have_text("No alarm is open.")
    kinds = [each["kind"].replace("_", " ") for each in ask(stack, "/api/alarms/conditions")]
    assert kinds
    for kind in kinds:
        expect(page.locator("#conditions-table")).to_contain_text(kind)
    expect(page.locator("#alarms > .state")).to_have_text("")


def test_no_alarm_is_not_claimed_while_nobody_evaluates(page: Page) -> None:
    """As if the jobs had stopped an hour ago."""

    def an_hour_older(route: Any) -> None:
        conditions = route.fetch().json()
        old = [{**each, "evaluatedAt": "2020-01-01T00:00:00Z"} for each in conditions]
        route.fulfill(body=json.dumps(old), content_type="application/json")

    page.route("**/api/alarms/conditions", an_hour_older)
    go(page, "#/alarms")
    expect(page.locator("#alarms > .state")).to_contain_text("The jobs last evaluated alarms")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_no_barrier_and_nothing_sticks_out(
    browser: Browser, stack: dict[str, Any], raised: Raise, scheme: Any, size: Any
) -> None:
    raised("/here")
    for made in opened(browser, stack["http_url"], size, color_scheme=scheme):
        go(made, "#/alarms")
        expect(row(made, "/here")).to_be_visible()
        assert barriers(made) == []
        assert made.evaluate("document.documentElement.scrollWidth") <= size["width"]
