"""Events on the dashboard: the list, the page of one, and what people do with it."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from playwright.sync_api import TimeoutError as LateError

from tests.e2e.stack import until
from tests.e2e.test_dashboard import (
    DESK,
    PHONE,
    WITHIN_MS,
    agree,
    ask,
    barriers,
    browser,
    fleet,
    opened,
    page,
    stack,
)

OPENINGS = 3
__all__ = ["browser", "fleet", "page", "stack"]
pytestmark = [pytest.mark.xdist_group("local"), pytest.mark.usefixtures("fleet"), pytest.mark.thorough]


@pytest.fixture
def event(page: Page, stack: dict[str, Any]) -> Iterator[str]:
    """An event of two VENs that runs."""
    now = datetime.now(UTC)
    body = {
        "startTime": now.isoformat(),
        "endTime": (now + timedelta(minutes=40)).isoformat(),
        "requestedReductionKw": 3,
        "venIds": ["ven-0002", "ven-0007"],
    }
    made = page.request.post(f"{stack['http_url']}/api/events", data=body)
    assert made.status == 201, made.text()
    event_id = made.json()["id"]
    until(lambda: ask(stack, f"/api/events/{event_id}")["vensResponding"] > 0, 90)
    yield event_id
    page.request.post(f"{stack['http_url']}/api/events/{event_id}/stop")
    until(lambda: ask(stack, f"/api/events/{event_id}")["status"] != "active", 90)


def go(page: Page, hash_: str) -> None:
    page.evaluate("hash => { location.hash = hash }", hash_)


def changed_request(page: Page) -> Locator:
    """The field of the request in the form of changes, opened by keyboard; again if its answers were late."""
    request_kw = page.locator("#event-change").get_by_label("Request, kW")
    for _ in range(OPENINGS):
        page.locator("#event-change > summary").press("Enter")
        try:
            request_kw.wait_for(timeout=WITHIN_MS / OPENINGS)
        except LateError:
            continue
        break
    return request_kw


def test_an_event_is_planned_changed_and_cancelled_with_the_keyboard(
    page: Page, stack: dict[str, Any]
) -> None:
    page.get_by_role("link", name="Events").press("Enter")
    expect(page.get_by_role("heading", name="Events", exact=True)).to_be_focused()
    page.get_by_text("Plan an event").press("Enter")
    form = page.locator("#event-new form")
    form.get_by_label("Request, kW").fill("4")
    form.get_by_role("textbox", name=re.compile("^Start")).fill("2031-01-15T17:00")
    form.get_by_label("End", exact=True).fill("2031-01-15T18:00")
    form.get_by_label("Lead time").fill("5")
    form.get_by_label("VENs by id").fill("ven-0002, ven-0007")
    form.get_by_label("Intervals").fill("15 at 4, 30 at 6")
    form.get_by_role("button", name="Show what it would do").press("Enter")
    question = page.get_by_role("dialog", name="Start this event?")
    expect(question).to_contain_text("4.00 kW to be shed")
    page.keyboard.press("Tab")
    page.locator("#ask-submit").press("Enter")
    expect(page.get_by_role("heading", name=re.compile("^Event evt-"))).to_be_focused()
    (made,) = [each for each in ask(stack, "/api/events") if each["status"] == "scheduled"]
    assert made["targets"] == {"groups": [], "loadTypes": [], "venIds": ["ven-0002", "ven-0007"]}
    assert [(each["durationS"], each["targetKw"]) for each in made["intervals"]] == [(900, 4), (1800, 6)]
    assert made["leadTimeS"] == 300
    assert page.url.endswith(f"#/events/{made['id']}")
    expect(page.locator("#event-terms")).to_contain_text(
        "Targets: VENs ven-0002, ven-0007. Intervals: 4.00 kW for 15 min"
    )
    expect(page.locator("#event-performance")).to_contain_text(
        "is scheduled, and nothing of it is measured yet"
    )
    changed_request(page).fill("5")
    page.get_by_role("button", name="Show what changes").press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("requestedReductionKw: 5")
    assert page.locator("#ask-body p").count() == 2, "only what is changed"
    page.locator("#ask-submit").press("Enter")
    expect(page.locator("#event-facts")).to_contain_text("5.00 kW")
    assert ask(stack, f"/api/events/{made['id']}")["requestedReductionKw"] == 5
    page.get_by_role("button", name="Cancel event").press("Enter")
    expect(page.get_by_role("dialog")).to_contain_text("It is cancelled before its start.")
    agree(page)
    expect(page.locator("#event-facts")).to_contain_text("cancelled")
    expect(page.get_by_role("button", name="Cancel event")).to_be_hidden()


def test_the_page_of_an_event_shows_what_it_delivers(page: Page, stack: dict[str, Any], event: str) -> None:
    go(page, f"#/events/{event}")
    expect(page.locator("#event-facts")).to_contain_text("running")
    expect(page.locator("#event-facts")).to_contain_text("measured against 10-of-10-adjusted, provisional")
    expect(page.locator("#event-caption")).to_contain_text("Mean power of 2 VENs by 5 minutes")
    rows = page.locator("#event-vens-rows tr")
    expect(rows).to_have_count(2)
    for ven in ask(stack, f"/api/events/{event}")["vens"]:
        row = page.locator(f"#event-vens-rows tr[data-key='{ven['venId']}']")
        asked_kw = ven["requestedReductionKw"]
        until(lambda: abs(float(row.locator("td").nth(2).inner_text()) - asked_kw) < 0.011, 20)  # noqa: B023
        expect(row.locator("td").nth(3)).to_have_text(re.compile("accepted|delivers"))
    with page.expect_download() as download:
        page.get_by_role("link", name="by VEN, CSV").click()
    assert download.value.suggested_filename == f"{event}-performance.csv"
    lines = download.value.path().read_text().splitlines()
    assert lines[0].startswith("requestedKw,")
    with page.expect_download() as download:
        page.get_by_role("link", name="over time, Parquet").click()
    assert download.value.path().read_bytes()[:4] == b"PAR1"
    page.get_by_role("link", name="ven-0002").click()
    expect(page.get_by_role("heading", name="ven-0002")).to_be_focused()
    expect(page.locator("#ven-answers-table")).to_contain_text(event)
    page.go_back()
    expect(page.locator("#event-facts")).to_contain_text("running")
    page.get_by_role("button", name="Stop event").click()
    expect(page.get_by_role("dialog")).to_contain_text("2 notified VENs are sent a restore")
    agree(page)
    expect(page.locator("#event-facts")).to_contain_text("past")


def test_who_opts_out_says_why(page: Page, stack: dict[str, Any], event: str) -> None:
    now = datetime.now(UTC)
    body = {"from": now.isoformat(), "to": (now + timedelta(hours=1)).isoformat(), "reason": "guests"}
    made = page.request.post(f"{stack['http_url']}/api/vens/ven-0007/opt-outs", data=body)
    assert made.status == 201
    go(page, f"#/events/{event}")
    row = page.locator("#event-vens-rows tr[data-key='ven-0007']")
    expect(row).to_contain_text("opted out")
    path = f"{stack['http_url']}/api/vens/ven-0007/opt-outs/{made.json()['id']}"
    assert page.request.delete(path).status == 204


def test_events_are_filtered_and_the_filter_is_a_link(page: Page, stack: dict[str, Any], event: str) -> None:
    planned = {"id": "later", "startTime": "2032-01-15T12:00:00Z", "endTime": "2032-01-15T13:00:00Z"}
    made = page.request.post(f"{stack['http_url']}/api/events", data={**planned, "requestedReductionKw": 7})
    assert made.status == 201
    page.get_by_role("link", name="Events").click()
    page.locator("#event-filter").get_by_label("Status").select_option("running")
    rows = page.locator("#event-list-rows tr")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text(event)
    page.locator("#event-filter").get_by_label("Status").select_option("planned")
    expect(rows).to_contain_text(["later"])
    assert "phase=planned" in page.url
    page.locator("#event-filter").get_by_label("Until").fill("2031-12-31")
    expect(page.locator("#event-count")).to_have_text(re.compile("^0 of "))
    page.locator("#event-filter").get_by_label("Until").fill("2032-01-15")
    expect(rows).to_contain_text(["later"])
    page.reload()
    expect(rows).to_contain_text(["later"])
    expect(page.locator("#event-filter").get_by_label("Status")).to_have_value("planned")
    assert page.request.delete(f"{stack['http_url']}/api/events/later").status == 204
    expect(page.locator("#event-count")).to_have_text(re.compile("^0 of "))


def test_an_event_that_is_not_there_says_so(page: Page) -> None:
    go(page, "#/events/nowhere")
    expect(page.locator("#event-one > .state")).to_contain_text("Not known: There is no event 'nowhere'")
    expect(page.locator("#event-facts")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_axe_finds_no_barrier_and_nothing_sticks_out(
    browser: Browser, stack: dict[str, Any], event: str, scheme: Any, size: Any
) -> None:
    for made in opened(browser, stack["http_url"], size, color_scheme=scheme):
        for hash_, ready in (
            ("#/events", "#event-list-rows tr"),
            (f"#/events/{event}", "#event-vens-rows tr"),
        ):
            go(made, hash_)
            expect(made.locator(ready).first).to_be_visible()
            for folded in made.locator(".view:not([hidden]) details > summary").all():
                folded.click()
            expect(made.locator(".view:not([hidden])").get_by_label("Request, kW")).to_be_visible()
            assert barriers(made) == []
            assert made.evaluate("document.documentElement.scrollWidth") <= size["width"]
