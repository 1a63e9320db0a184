"""The dashboard, as a person uses it, in a headless Chromium over a running stack."""

import json
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, ViewportSize, expect, sync_playwright

from local.environment import REPOSITORY, inherited_environment
from local.ports import free_ports
from local.programs import is_healthy
from tests.e2e.stack import running_stack, until
from tests.faults.requirement import be_without

pytestmark = [pytest.mark.xdist_group("local"), pytest.mark.thorough]

VENS = 24
MANY = 10_000
WITHIN_MS = 45_000
ONLINE_WITHIN_S = 180
DESK: ViewportSize = {"width": 1280, "height": 900}
PHONE: ViewportSize = {"width": 360, "height": 740}
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""As root it needs the first; the rest keeps it from looking for a network that may not be there."""
REFUSED = "Failed to load resource: the server responded with a status of"
EXPECTED = ("data:", "blob:", f"{REFUSED} 404", f"{REFUSED} 409")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with running_stack(tmp_path_factory.mktemp("dashboard")) as ready:
        yield ready


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        be_without("no browser is installed: `apt-get install chromium`")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=QUIET)
        yield started
        started.close()


@pytest.fixture(scope="module")
def fleet(stack: dict[str, Any]) -> Iterator[None]:
    """Homes that report, an hour of the past included."""
    command = [sys.executable, "-m", "local.fleet", "--mqtt-url", stack["mqtt_url"], "--vens", str(VENS)]
    options = ["--interval", "2", "--backfill", "1", "--opt-out", "0", "--mute", "0"]
    process = subprocess.Popen([*command, *options], cwd=REPOSITORY)
    try:
        until(lambda: ask(stack, "/api/stats/network")["onlineVens"] == VENS, ONLINE_WITHIN_S)
        yield
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture
def page(browser: Browser, stack: dict[str, Any]) -> Iterator[Page]:
    yield from opened(browser, stack["http_url"], DESK)


def opened(browser: Browser, url: str, size: ViewportSize, **more: Any) -> Iterator[Page]:
    """A page that has been opened; it may complain of nothing, and fetch nothing from elsewhere."""
    context = browser.new_context(viewport=size, **more)
    made, complaints = context.new_page(), list[str]()
    made.set_default_timeout(WITHIN_MS)
    expect.set_options(timeout=WITHIN_MS)
    made.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on(
        "request", lambda request: complaints.extend([] if request.url.startswith(url) else [request.url])
    )
    made.goto(url, timeout=90_000)
    yield made
    context.close()
    assert [each for each in complaints if not each.startswith(EXPECTED)] == []


def ask(stack: dict[str, Any], path: str) -> Any:
    with urllib.request.urlopen(f"{stack['http_url']}{path}", timeout=10) as response:  # noqa: S310 - loopback
        return json.load(response)


def agree(page: Page) -> None:
    """Press the button of the question that is asked before something is done."""
    page.locator("#ask-submit").click()
    expect(page.locator("#ask")).to_be_hidden()


def card(page: Page, title: str) -> str:
    return page.locator("#cards > div", has_text=title).locator("dd").inner_text()


def test_an_empty_database_says_what_to_do(page: Page) -> None:
    expect(page.get_by_role("heading", name="No VEN has reported yet")).to_be_visible()
    expect(page.locator("#welcome")).to_contain_text("mosquitto_pub")
    expect(page.locator("#event-view")).to_have_text("No event is running or planned.")
    page.get_by_role("link", name="VENs").click()
    expect(page.locator("#vens-count")).to_have_text("0 of 0 VENs")


@pytest.mark.usefixtures("fleet")
class TestWithAFleet:
    def test_numbers_are_read_and_stay_fresh(self, page: Page, stack: dict[str, Any]) -> None:
        expect(page.locator("#connection")).to_have_text("live")
        expect(page.locator("#cards")).to_contain_text(f"{VENS} of {VENS}")
        expect(page.locator("#welcome")).to_be_hidden()
        before = card(page, "Used now")
        assert re.fullmatch(r"-?[\d.,]+ kW", before.replace("\n", " "))
        until(lambda: card(page, "Used now") != before, 20)
        shown = float(card(page, "Used today").split()[0].replace(",", ""))
        assert shown <= ask(stack, "/api/stats/network")["totalHousePowerToday"] + 0.01

    def test_the_range_of_the_history_is_chosen(self, page: Page) -> None:
        caption = page.locator("#history-caption")
        expect(caption).to_contain_text("Mean power by 5 minutes")
        page.get_by_role("button", name="30 days").first.click()
        expect(caption).to_contain_text("Mean power by 6 hours")
        expect(page.get_by_role("button", name="30 days").first).to_have_attribute("aria-pressed", "true")
        page.get_by_role("button", name="3 h", exact=True).first.click()
        expect(caption).to_contain_text("Mean power by 5 minutes")
        page.get_by_text("As a table").click()
        assert page.locator("#history-table tbody tr").count() > 5

    def test_dragging_zooms_and_a_double_click_goes_back(self, page: Page) -> None:
        caption, plot = page.locator("#history-caption"), page.locator("#history-chart .nsewdrag")
        page.get_by_role("button", name="3 h", exact=True).first.click()
        expect(caption).to_contain_text("Drag to zoom")
        plot.scroll_into_view_if_needed()
        box = plot.bounding_box()
        assert box is not None
        middle = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + box["width"] * 0.7, middle)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.98, middle, steps=8)
        page.mouse.up()
        expect(caption).to_contain_text("Double-click to zoom out")
        plot.dblclick()
        expect(caption).to_contain_text("Drag to zoom")

    def test_a_forecast_is_shown_as_a_band_and_as_a_table(self, page: Page) -> None:
        """With the forecast's own words where it is missing: the fleet has an hour of history."""
        caption = page.locator("#forecast-caption")
        expect(caption).to_contain_text(re.compile("There is no forecast yet|Too few similar days"))
        expect(page.locator("#forecast-chart")).to_be_hidden()
        show_forecast(page)
        expect(caption).to_contain_text("All loads together, by half hours")
        expect(caption).to_contain_text(
            "8.00 kW used (measured), between 6.00 and 9.00 kW in eight cases of ten"
        )
        expect(page.locator("#forecast-chart")).to_have_attribute("aria-label", re.compile("8.00 kW used"))
        page.get_by_label("Type of load").select_option("solar")
        expect(caption).to_contain_text("Loads of type solar")
        expect(caption).to_contain_text("-4.00 kW used (measured), between -6.00 and -3.00 kW")
        page.get_by_role("button", name="Could be shed").click()
        expect(caption).to_contain_text("2.00 kW could be shed (reported by VENs)")
        expect(page.get_by_role("button", name="Could be shed")).to_have_attribute("aria-pressed", "true")
        page.get_by_text("Half hours in a table").click()
        expect(page.locator("#forecast-table tbody tr")).to_have_count(96)
        expect(page.locator("#forecast-table tbody tr").nth(10)).to_contain_text("\N{EN DASH}")

    def test_vens_are_searched_sorted_and_opened_with_the_keyboard(self, page: Page) -> None:
        page.get_by_role("link", name="VENs").press("Enter")
        expect(page.locator("#vens-count")).to_have_text(f"{VENS} of {VENS} VENs")
        page.get_by_role("button", name="Uses, kW").press("Enter")
        page.get_by_role("button", name="Uses, kW").press("Enter")
        expect(page.locator("#vens-head th").nth(4)).to_have_attribute("aria-sort", "descending")
        powers = [float(cell) for cell in page.locator("#vens-rows td:nth-child(5)").all_inner_texts()]
        assert powers == sorted(powers, reverse=True)
        page.get_by_role("searchbox", name="Search").fill("0007")
        expect(page.locator("#vens-count")).to_have_text(f"1 of {VENS} VENs")
        page.locator("#vens-rows a").press("Enter")
        expect(page.locator("#ven-title")).to_be_focused()
        expect(page.locator("#ven-title")).to_contain_text("ven-0007")
        expect(page.locator("#ven-caption")).to_contain_text("Mean power by")
        load = page.locator("#ven-loads tbody tr td:first-child button").first
        load.press("Enter")
        expect(page.locator("#ven-chart")).to_have_attribute("aria-label", re.compile("^Power of load "))
        page.get_by_role("button", name="Show the whole VEN").press("Enter")
        expect(page.locator("#ven-chart")).to_have_attribute("aria-label", re.compile("^Power of the VEN"))
        page.go_back()
        expect(page.locator("#vens-count")).to_have_text(f"1 of {VENS} VENs")

    def test_vens_are_filtered_by_group(self, page: Page, stack: dict[str, Any]) -> None:
        page.get_by_role("link", name="VENs").click()
        expect(page.locator("#vens-count")).to_have_text(f"{VENS} of {VENS} VENs")
        expect(page.locator("#vens-filter").get_by_label("Group")).to_be_hidden()
        body = {"id": "a few", "name": "A few homes", "venIds": ["ven-0002", "ven-0007"]}
        made = page.request.post(f"{stack['http_url']}/api/groups", data=body)
        assert made.status == 201
        page.reload()
        page.locator("#vens-filter").get_by_label("Group").select_option("A few homes")
        expect(page.locator("#vens-count")).to_have_text("2 of 2 VENs")
        page.locator("#vens-filter").get_by_label("Group").select_option("any")
        expect(page.locator("#vens-count")).to_have_text(f"{VENS} of {VENS} VENs")
        assert page.request.delete(f"{stack['http_url']}/api/groups/a%20few").status == 204

    def test_pages_of_vens_are_turned(self, page: Page) -> None:
        page.get_by_role("link", name="VENs").click()
        expect(page.locator("#vens-page")).to_have_text("page 1 of 2")
        page.get_by_role("button", name="Next").click()
        expect(page.locator("#vens-rows tr")).to_have_count(VENS - 20)
        expect(page.get_by_role("button", name="Next")).to_be_disabled()

    def test_the_range_is_shared_by_all_charts_and_kept_in_links(self, page: Page) -> None:
        """A free range and its comparison are in the address; another view and a reload keep them."""
        form = page.get_by_role("form", name="Free range")
        expect(page.locator("#history-caption")).to_contain_text("Drag to zoom")
        now = datetime.now(UTC)
        start, end = (now - timedelta(minutes=50)), now
        form.get_by_label("From").fill(f"{start:%Y-%m-%dT%H:%M}")
        form.get_by_label("To").fill(f"{end:%Y-%m-%dT%H:%M}")
        form.get_by_role("button", name="Show").press("Enter")
        expect(page.locator("#history-caption")).to_contain_text("Double-click to zoom out")
        form.get_by_label("Compare with").select_option("the week before")
        expect(page.locator("#history-caption")).to_contain_text(
            "of the week before \N{EN DASH} kW (measured)"
        )
        assert f"from={start:%Y-%m-%dT%H}%3A{start:%M}%3A00.000Z" in page.url
        page.get_by_role("link", name="VENs").click()
        page.get_by_role("link", name="ven-0002").click()
        expect(page.locator("#ven-caption")).to_contain_text("Double-click to zoom out")
        page.reload()
        expect(page.locator("#ven-caption")).to_contain_text("Double-click to zoom out")
        expect(page.locator("#ven-ranges").get_by_label("Compare with")).to_have_value("week")
        page.get_by_role("button", name="today").press("Enter")
        expect(page.locator("#ven-caption")).to_contain_text("Drag to zoom")
        page.get_by_role("link", name="Overview").click()
        expect(page.get_by_role("button", name="today")).to_have_attribute("aria-pressed", "true")

    def test_generation_is_beside_consumption(self, page: Page) -> None:
        page.get_by_label("Generation beside consumption").check()
        page.get_by_text("As a table").click()
        heads = page.locator("#history-table thead th")
        expect(heads).to_have_count(5)
        assert "generation=1" in page.url
        for row in page.locator("#history-table tbody tr").all():
            used, _shed, generated, consumed = (
                float(text) for text in row.locator("td").all_inner_texts()[1:]
            )
            assert generated >= 0
            assert consumed == pytest.approx(used + generated, rel=1e-3, abs=0.02)  # of four digits

    def test_an_event_is_started_watched_and_stopped(self, page: Page, stack: dict[str, Any]) -> None:
        page.get_by_label("Reduction, kW").fill("5")
        page.get_by_label("For, minutes").fill("20")
        page.get_by_role("button", name="Start event").click()
        question = page.get_by_role("dialog", name="Start this event?")
        expect(question).to_contain_text(re.compile(r"\d+ VENs would be asked for 5.00 kW together, of"))
        expect(question).to_contain_text("(reported by VENs)")
        expect(question).to_contain_text("Stop undoes it")
        assert ask(stack, "/api/events/current") is None
        page.keyboard.press("Escape")
        expect(question).to_be_hidden()
        assert ask(stack, "/api/events") == []
        page.get_by_role("button", name="Start event").press("Enter")
        agree(page)
        event = page.locator("#event-view")
        expect(event).to_contain_text("of 5.00 kW shed (measured against 10-of-10-adjusted, provisional:")
        expect(event).to_contain_text(re.compile(r"[1-9]\d* VENs respond"))
        until(lambda: not card(page, "Being shed").startswith("0.00"), 20)
        page.get_by_role("button", name="Stop event").click()
        expect(page.get_by_role("dialog")).to_contain_text(
            re.compile(r"\d+ notified VENs are sent a restore")
        )
        expect(page.get_by_role("dialog")).to_contain_text("It ends now instead of at")
        agree(page)
        expect(event).to_have_text("No event is running or planned.")
        assert ask(stack, "/api/events/current") is None

    def test_an_event_is_shown_with_the_words_of_the_api(self, page: Page, stack: dict[str, Any]) -> None:
        """Direction, targets, intervals, notes; and of each power whether it is measured or reported."""
        start = datetime.now(UTC)
        event = {
            "id": "words",
            "startTime": start.isoformat(),
            "endTime": (start + timedelta(minutes=40)).isoformat(),
            "requestedReductionKw": 3,
            "intervals": [{"durationS": 900, "targetKw": 4}, {"durationS": 1_350, "targetKw": 9}],
            "targets": {"venIds": ["ven-0002", "ven-0007"]},
            "staggerReturnS": 60,
            "importLimitKw": 5,
        }
        opt_out = {"from": start.isoformat(), "to": event["endTime"], "reason": "guests"}
        vens = f"{stack['http_url']}/api/vens"
        made = page.request.post(f"{vens}/ven-0007/opt-outs", data=opt_out)
        assert made.status == 201
        assert page.request.post(f"{stack['http_url']}/api/events", data=event).status == 201
        view = page.locator("#event-view")
        expect(view).to_contain_text(
            "of 4.00 kW shed (measured against 10-of-10-adjusted, provisional: baseline less usage) in event"
            " words"
        )
        expect(view).to_contain_text("Passed over: 1 opted out.")
        expect(view).to_contain_text(
            re.compile(
                r"Direction: reduce. Targets: VENs ven-0002, ven-0007."
                r" Intervals: 4.00 kW for 1[345](\.\d)? min,"
                r" 9.00 kW for 22.5 min. Returns are spread over 60 s. Import limit of each VEN: 5.00 kW."
            )
        )
        for text in ("Used now (measured)", "Could be shed now (reported by VENs)", "VENs online"):
            expect(page.locator("#cards").get_by_text(text, exact=True)).to_be_visible()
        page.evaluate("location.hash = '#/vens/ven-0007'")
        expect(page.locator("#ven-opt-outs")).to_contain_text("guests")
        expect(page.locator("#ven-facts")).to_contain_text("Could shed (reported by VENs)")
        page.get_by_role("link", name="Overview").click()
        page.get_by_role("button", name="Stop event").click()
        agree(page)
        expect(view).to_have_text("No event is running or planned.")
        assert page.request.delete(f"{vens}/ven-0007/opt-outs/{made.json()['id']}").status == 204

    def test_more_that_is_planned_says_so(self, page: Page, stack: dict[str, Any]) -> None:
        body: dict[str, Any] = {
            "startTime": "2031-01-15T12:00:00Z",
            "endTime": "2031-01-15T13:00:00Z",
            "direction": "increase",
        }
        body |= {"id": "more", "randomizeStartS": 90, "requestedReductionKw": 7}
        assert page.request.post(f"{stack['http_url']}/api/events", data=body).status == 201
        view = page.locator("#event-view")
        expect(view).to_contain_text("7.00 kW more to be used from")
        expect(view).to_contain_text("Direction: increase. Targets: all VENs. Starts are spread over 90 s.")
        page.get_by_role("button", name="Cancel event").click()
        agree(page)
        expect(view).to_have_text("No event is running or planned.")

    def test_a_refusal_is_told(self, page: Page) -> None:
        for _ in range(2):
            page.get_by_label("Reduction, kW").fill("5")
            page.get_by_role("textbox", name="From (empty: now)").fill("2031-01-15T17:00")
            page.get_by_role("button", name="Start event").click()
            if page.locator("#event-view").filter(has_text="2031").count() == 0:
                agree(page)
            expect(page.locator("#event-view")).to_contain_text("2031")
        expect(page.locator("#event-message")).to_contain_text("asks the same VENs at the same time")
        page.get_by_role("button", name="Cancel event").click()
        agree(page)
        expect(page.locator("#event-view")).to_have_text("No event is running or planned.")

    def test_ten_thousand_vens_are_no_burden(self, page: Page) -> None:
        vens = [ven(number) for number in range(MANY)]

        def answer(route: Route) -> None:
            route.fulfill(json=vens)

        page.route("**/api/vens/summary", answer)
        page.get_by_role("link", name="VENs").click()
        expect(page.locator("#vens-count")).to_have_text("10,000 of 10,000 VENs")
        assert page.locator("#vens-rows tr").count() == 20
        page.evaluate("document.querySelector('#vens-rows tr').dataset.mark = 'kept'")
        page.get_by_role("searchbox", name="Search").press_sequentially("ven-0099")
        expect(page.locator("#vens-count")).to_have_text("10 of 10,000 VENs")
        page.get_by_role("searchbox", name="Search").fill("")
        expect(page.locator("#vens-count")).to_have_text("10,000 of 10,000 VENs")
        assert page.evaluate("document.querySelectorAll('*').length") < 2_000

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_a_phone_shows_it_all_without_scrolling_sideways(
        self, browser: Browser, stack: dict[str, Any], scheme: str
    ) -> None:
        for page in opened(browser, stack["http_url"], PHONE, color_scheme=scheme, has_touch=True):
            expect(page.locator("#history-caption")).to_contain_text("Mean power")
            show_forecast(page)
            expect(page.locator("#forecast-caption")).to_contain_text("All loads together")
            page.get_by_text("Half hours in a table").click()
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
            expect(page.locator("#types-table")).to_have_class(re.compile("scrolls-sideways"))
            page.evaluate("location.hash = '#/vens/ven-0002'")
            expect(page.locator("#ven-caption")).to_contain_text("Mean power")
            assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]

    @pytest.mark.parametrize("scheme", ["light", "dark"])
    @pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
    def test_axe_finds_no_barrier(
        self, browser: Browser, stack: dict[str, Any], scheme: str, size: ViewportSize
    ) -> None:
        for page in opened(browser, stack["http_url"], size, color_scheme=scheme):
            expect(page.locator("#history-caption")).to_contain_text("Mean power")
            expect(page.locator("#types-table table")).to_be_visible()
            show_forecast(page)
            expect(page.locator("#forecast-caption")).to_contain_text("All loads together")
            page.get_by_text("Half hours in a table").click()
            assert barriers(page) == []
            page.get_by_label("Reduction, kW").fill("1")
            page.get_by_role("button", name="Start event").click()
            expect(page.get_by_role("dialog")).to_be_visible()
            assert barriers(page) == []

    def test_paper_is_light_and_has_no_buttons(self, browser: Browser, stack: dict[str, Any]) -> None:
        for page in opened(browser, stack["http_url"], DESK, color_scheme="dark"):
            expect(page.locator("#history-caption")).to_contain_text("Mean power")
            page.emulate_media(media="print")
            expect(page.get_by_role("button", name="Start event")).to_be_hidden()
            expect(page.locator("#history-chart")).to_be_visible()
            page.evaluate("dispatchEvent(new Event('beforeprint'))")
            expect(page.locator("html")).to_have_attribute("data-theme", "light")
            page.evaluate("dispatchEvent(new Event('afterprint'))")
            assert page.locator("html").get_attribute("data-theme") is None

    def test_the_theme_is_chosen_and_kept(self, page: Page) -> None:
        page.get_by_role("button", name="Use dark colours").click()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")
        page.reload()
        expect(page.locator("html")).to_have_attribute("data-theme", "dark")


@contextmanager
def served(stack: dict[str, Any], **settings: str) -> Iterator[str]:
    """Another serving over the same database; its URL."""
    (port,) = free_ports(1)
    environment = {**inherited_environment(), "DATABASE_URL": stack["database_url"], "HTTP_PORT": str(port)}
    process = subprocess.Popen(
        [sys.executable, "-m", "serving"], cwd=REPOSITORY, env={**environment, **settings}
    )
    try:
        until(lambda: is_healthy(port), 60)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def guarded(stack: dict[str, Any]) -> Iterator[str]:
    """One that asks for keys."""
    with served(stack) as url:
        yield url


@pytest.mark.usefixtures("fleet")
@pytest.mark.parametrize(
    ("language", "zone", "power", "day"),
    [
        ("de-DE", "America/New_York", r"\d+,\d\d kW", "15.01.2031, 12:00"),
        ("en-GB", "Asia/Kathmandu", r"\d+\.\d\d kW", "15 Jan 2031, 22:45"),
    ],
)
def test_numbers_are_in_the_language_of_the_browser_and_times_in_the_zone_of_the_site(
    browser: Browser, stack: dict[str, Any], language: str, zone: str, power: str, day: str
) -> None:
    body = {"id": f"zoned-{language}", "startTime": "2031-01-15T17:00:00Z", "endTime": "2031-01-15T18:00:00Z"}
    with served(stack, HTTP_AUTH="off", TIME_ZONE=zone) as url:
        for page in opened(browser, url, DESK, locale=language, timezone_id="Australia/Sydney"):
            made = page.request.post(f"{url}/api/events", data={**body, "requestedReductionKw": 7})
            assert made.status == 201
            expect(page.locator("#zone")).to_have_text(zone)
            expect(page.locator("#event-view")).to_contain_text(day)
            assert re.fullmatch(f"-?{power}", card(page, "Used now").replace("\n", " "))
            local = datetime.fromisoformat("2031-01-15T17:00:00+00:00").astimezone(ZoneInfo(zone))
            page.get_by_label("Reduction, kW").fill("1")
            page.get_by_role("textbox", name="From (empty: now)").fill(f"{local:%Y-%m-%dT%H:%M}")
            page.get_by_role("button", name="Start event").click()
            expect(page.locator("#event-message")).to_contain_text("asks the same VENs at the same time")
            assert page.request.delete(f"{url}/api/events/zoned-{language}").status == 204


@pytest.mark.usefixtures("fleet")
def test_a_key_is_asked_for_once_and_kept_as_a_session(
    browser: Browser, stack: dict[str, Any], guarded: str
) -> None:
    make = [sys.executable, "-m", "serving", "keys", "create", "on-duty", "--role", "viewer"]
    settings = {**inherited_environment(), "DATABASE_URL": stack["database_url"]}
    made = subprocess.run(make, cwd=REPOSITORY, env=settings, capture_output=True, text=True, check=True)
    key = made.stdout.split()[-1]
    context = browser.new_context(viewport=DESK)
    page = context.new_page()
    page.goto(guarded)
    dialog = page.get_by_role("dialog", name="An API key, please")
    expect(dialog).to_be_visible(timeout=WITHIN_MS)
    for panel in ("now", "event", "history", "types"):
        state = page.locator(f"#{panel} > .state")
        expect(state).to_have_text("Not known: An API key is needed.", timeout=WITHIN_MS)
    expect(page.get_by_text("No event is running")).to_be_hidden()
    expect(page.locator("#event-form button")).to_be_disabled()
    page.get_by_role("textbox", name="Key").fill("not-a-key")
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("alert")).to_contain_text("unknown", timeout=WITHIN_MS)
    page.get_by_role("textbox", name="Key").fill(key)
    page.keyboard.press("Enter")
    expect(page.locator("#cards")).to_contain_text(f"of {VENS}", timeout=WITHIN_MS)
    expect(page.locator("#connection")).to_have_text("live", timeout=WITHIN_MS)
    page.reload()
    expect(page.locator("#session")).to_contain_text("on-duty (viewer)", timeout=WITHIN_MS)
    expect(page.locator("#cards")).to_contain_text(f"of {VENS}", timeout=WITHIN_MS)
    expect(dialog).to_be_hidden()
    page.get_by_label("Reduction, kW").fill("5")
    page.get_by_role("button", name="Start event").click()
    expect(page.locator("#event-message")).to_contain_text("operator", timeout=WITHIN_MS)
    page.get_by_role("link", name="Audit").click()
    expect(page.locator("#audit > .state")).to_contain_text("operator", timeout=WITHIN_MS)
    page.get_by_role("button", name="Log out").click()
    expect(dialog).to_be_visible(timeout=WITHIN_MS)
    context.close()


def show_forecast(page: Page) -> None:
    """A forecast of two types, with a gap: to make one takes days of history."""

    def answer(route: Route) -> None:
        is_total = "by=total" in route.request.url
        kinds = [(None, 8.0)] if is_total else [("ev", 12.0), ("solar", -4.0)]
        points = [forecast_point(kind, kw, number) for kind, kw in kinds for number in range(96)]
        route.fulfill(json={"origin": "2026-01-15T12:30:00Z", "timeZone": "UTC", "points": points})

    page.route("**/api/forecast*", answer)
    page.reload()


def forecast_point(kind: str | None, kw: float, number: int) -> dict[str, Any]:
    at = datetime(2026, 1, 15, 12, 30, tzinfo=UTC) + number * timedelta(minutes=30)
    is_gap, level = number in (10, 11), kw - (0.01 * number if number else 0.0)
    powers = {"usedP10Kw": level - 2, "usedP50Kw": level, "usedP90Kw": level + 1}
    powers |= {"shedCapabilityP10Kw": 1.0, "shedCapabilityP50Kw": 2.0, "shedCapabilityP90Kw": 4.0}
    days = {"usedDays": 3 if is_gap else 30, "shedCapabilityDays": 3 if is_gap else 30}
    point = {"timestamp": f"{at:%Y-%m-%dT%H:%M:%SZ}", **days}
    point |= {name: None if is_gap else value for name, value in powers.items()}
    return point if kind is None else {"type": kind, **point}


def barriers(page: Page) -> list[str]:
    found = Axe().run(page).response["violations"]
    return [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in found]


def ven(number: int) -> dict[str, Any]:
    return {
        "id": f"ven-{number:05d}",
        "name": f"Home {number}",
        "location": "",
        "isLocated": False,
        "status": "online" if number % 9 else "offline",
        "controllablePower": number % 70 / 10,
        "currentPower": number % 130 / 10,
        "address": None,
        "lastSeen": "2026-01-15T12:00:00Z",
        "responseTime": None,
    }
