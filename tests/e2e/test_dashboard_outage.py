"""The dashboard while the database is unavailable or late: it never shows more than is known."""

import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from local.environment import REPOSITORY, inherited_environment
from local.ports import free_ports
from local.postgres import EmbeddedPostgres
from local.programs import is_healthy
from tests.e2e.stack import until
from tests.e2e.test_dashboard import DESK, PHONE, WITHIN_MS, barriers, browser

__all__ = ["browser"]
pytestmark = [pytest.mark.xdist_group("local"), pytest.mark.thorough]

PANELS = ("now", "event", "history", "types")
"""Of the first view; that of VENs has a panel of its own."""

AWAY = re.compile(
    "database (cannot be reached|is (starting|shutting)|has crashed)|connection to the database was lost"
)

HISTORY = "**/api/stats/network/history?*"


class Site:
    """A database that can be taken away, with serving and jobs over it."""

    def __init__(self, directory: Path) -> None:
        (port,) = free_ports(1)
        self._directory = directory
        self.postgres = EmbeddedPostgres(directory, durable=False)
        self.url = f"http://127.0.0.1:{port}"
        self._environment = inherited_environment(
            DATABASE_URL=self.postgres.url("gridgate"),
            HTTP_PORT=str(port),
            HTTP_HOST="127.0.0.1",
            HTTP_AUTH="off",
        )
        self._programs: dict[str, subprocess.Popen[bytes]] = {}
        self._port = port

    def start(self) -> None:
        self.postgres.start()
        self.postgres.ensure_database("gridgate")
        migrate = [sys.executable, "-m", "alembic", "upgrade", "head"]
        subprocess.run(migrate, cwd=REPOSITORY, env=self._environment, check=True)
        self.run("serving")
        self.run("jobs")
        until(lambda: is_healthy(self._port), 60)
        until(lambda: self.readiness()["lastRollupAgeS"] is not None, 60)

    def run(self, program: str) -> None:
        command = [sys.executable, "-m", program]
        with (self._directory / f"{program}.log").open("ab") as log:
            self._programs[program] = subprocess.Popen(
                command, cwd=REPOSITORY, env=self._environment, stdout=log, stderr=log
            )

    def end_program(self, program: str) -> None:
        process = self._programs.pop(program)
        process.terminate()
        process.wait(30)

    def readiness(self) -> dict[str, float | None]:
        answer = httpx.get(f"{self.url}/health/db-check", timeout=10)
        return dict(answer.json()) if answer.is_success else {"lastRollupAgeS": None}

    def end(self) -> None:
        for program in list(self._programs):
            self.end_program(program)
        self.postgres.kill()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    built = Site(tmp_path_factory.mktemp("outage"))
    try:
        built.start()
        yield built
    finally:
        built.end()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport=DESK)
    made, errors = context.new_page(), list[str]()
    made.set_default_timeout(WITHIN_MS)
    expect.set_options(timeout=WITHIN_MS)
    made.on("pageerror", lambda error: errors.append(str(error)))
    yield made
    context.close()
    assert errors == []


@pytest.fixture
def event(site: Site) -> Iterator[str]:
    """An event that runs."""
    now = datetime.now(UTC)
    times = {"startTime": now.isoformat(), "endTime": (now + timedelta(hours=1)).isoformat()}
    made = httpx.post(f"{site.url}/api/events", json={**times, "requestedReductionKw": 5}, timeout=10)
    assert made.status_code == 201, made.text
    event_id = made.json()["id"]
    until(lambda: status_of(site, event_id) == "active", 30)
    yield event_id
    httpx.post(f"{site.url}/api/events/{event_id}/stop", timeout=10)
    until(lambda: status_of(site, event_id) == "completed", 30)


def status_of(site: Site, event_id: str) -> str:
    return str(httpx.get(f"{site.url}/api/events/{event_id}", timeout=10).json()["status"])


def test_what_stood_there_is_of_then_while_the_database_is_away(page: Page, site: Site, event: str) -> None:
    """Each panel shows its age and the API's reason; Start is off; all comes back."""
    page.goto(site.url)
    view, start = page.locator("#event-view"), page.get_by_role("button", name="Start event")
    expect(view).to_contain_text(f"event {event}")
    for panel in PANELS:
        expect(page.locator(f"#{panel}")).to_have_attribute("data-state", "fresh")
    expect(start).to_be_enabled()
    site.postgres.stop()
    try:
        for panel in ("now", "event", "types"):
            expect(page.locator(f"#{panel} > .state")).to_contain_text(AWAY)
            expect(page.locator(f"#{panel} > .state")).to_contain_text("As of ")
        expect(view).to_contain_text(f"event {event}")
        expect(start).to_be_disabled()
        expect(page.locator("#connection")).to_have_text("not answering")
        assert barriers(page) == []
        page.goto(f"{site.url}/#/vens")
        expect(page.locator("#vens > .state")).to_contain_text(AWAY)
        expect(page.locator("#vens > .state")).to_contain_text("Not known")
        page.goto(f"{site.url}/#/")
    finally:
        site.postgres.start()
    for panel in PANELS:
        expect(page.locator(f"#{panel} > .state")).to_have_text("", timeout=60_000)
    expect(start).to_be_enabled()
    expect(page.locator("#connection")).to_have_text("live")


def test_before_the_first_answer_nothing_is_claimed(page: Page, site: Site, event: str) -> None:
    """`No event is running or planned.` stood there while an event ran."""
    site.postgres.stop()
    try:
        page.set_viewport_size(PHONE)
        page.goto(site.url)
        for panel in PANELS:
            expect(page.locator(f"#{panel} > .state")).to_contain_text(AWAY)
            expect(page.locator(f"#{panel} > .state")).to_contain_text("Not known")
        expect(page.get_by_text("No event is running")).to_be_hidden()
        expect(page.get_by_role("heading", name="No VEN has reported yet")).to_be_hidden()
        expect(page.get_by_role("button", name="Start event")).to_be_disabled()
        assert barriers(page) == []
    finally:
        site.postgres.start()
    expect(page.locator("#event-view")).to_contain_text(f"event {event}", timeout=60_000)
    expect(page.get_by_role("button", name="Start event")).to_be_enabled()


def test_an_answer_that_is_overtaken_is_not_taken_for_one(page: Page, site: Site) -> None:
    """Another range is chosen before the first answer comes; its own does not come."""
    held = list[Route]()

    def hold(route: Route) -> None:
        held.append(route)

    page.route(HISTORY, hold)
    with page.expect_request(HISTORY):
        page.goto(site.url)
    page.get_by_role("button", name="30 days").first.wait_for()
    overtaken = len(held)
    with page.expect_request(HISTORY):
        page.get_by_role("button", name="30 days").first.click()
    for each in held[:overtaken]:
        with page.expect_response(HISTORY):
            each.continue_()
    for each in held[overtaken:]:
        each.fulfill(status=503, json={"title": "Service Unavailable", "status": 503, "detail": "It rests."})
    expect(page.locator("#history > .state")).to_have_text("Not known: It rests.")


def test_nothing_runs_is_said_of_then(page: Page, site: Site) -> None:
    page.goto(site.url)
    expect(page.locator("#event-view")).to_have_text("No event is running or planned.")
    site.postgres.stop()
    try:
        expect(page.locator("#event-view")).to_have_text(
            re.compile("^At .+ no event was running or planned.$")
        )
    finally:
        site.postgres.start()
    expect(page.locator("#event-view")).to_have_text("No event is running or planned.", timeout=60_000)


def test_late_jobs_make_totals_old(page: Page, site: Site) -> None:
    """The database answers at once, with totals that are not refreshed."""
    page.goto(site.url)
    expect(page.locator("#now > .state")).to_have_text("")
    site.end_program("jobs")
    try:
        for panel in ("now", "types"):
            state = page.locator(f"#{panel} > .state")
            expect(state).to_contain_text("The jobs are late: totals are", timeout=60_000)
        expect(page.get_by_role("button", name="Start event")).to_be_disabled()
        page.goto(f"{site.url}/#/vens")
        expect(page.locator("#vens > .state")).to_contain_text("The jobs are late: totals are")
        page.goto(f"{site.url}/#/")
    finally:
        site.run("jobs")
    expect(page.locator("#now > .state")).to_have_text("", timeout=60_000)


def test_a_server_that_is_gone_is_told_from_a_database(page: Page, site: Site) -> None:
    page.goto(site.url)
    expect(page.locator("#now > .state")).to_have_text("")
    site.end_program("serving")
    try:
        expect(page.locator("#event > .state")).to_contain_text("The server cannot be reached.")
        expect(page.locator("#now > .state")).to_contain_text("The server cannot be reached.")
    finally:
        site.run("serving")
    expect(page.locator("#now > .state")).to_have_text("", timeout=60_000)
