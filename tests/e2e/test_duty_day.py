"""A day on duty, in Chromium and by keyboard alone: from a file of VENs to one that is revoked.

With `SCREENSHOTS` set to a folder, it leaves a picture of each page there.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from playwright.sync_api import Browser, Locator, Page, expect

from local.environment import REPOSITORY, inherited_environment
from local.ports import HOST, free_ports
from local.programs import is_healthy
from tests.e2e.stack import until
from tests.e2e.test_dashboard import DESK, PHONE, barriers, browser, opened
from tests.faults.site import Site
from tests.integration.dynsec_broker import DynsecBroker

__all__ = ["browser"]
pytestmark = [pytest.mark.xdist_group("local"), pytest.mark.thorough]

KEY = "5e" * 32
HOMES, FARM = 8, "farm"
CUT_WITHIN_S = 2.0
HEAD = "id,name,lat,lon,address,region\n"
HOMES_IN_FILE = [
    f"ven-{n:04d},Home {n},{52.4 + n / 50:.3f},{13.3 + n / 40:.3f},Main St {n},{('south', 'north')[n % 2]}\n"
    for n in range(1, HOMES + 1)
]
FLEET = HEAD + "".join(HOMES_IN_FILE) + f"{FARM},Dairy farm,52.52,13.405,Farm Rd 1,north\n"
FAST = {"JOBS_HISTORY_EVERY_S": "2", "JOBS_SETTLEMENT_EVERY_S": "2", "SETTLEMENT_GRACE_S": "5"}


class System:
    """Every program, with a broker whose plugin dynamic-security gets the credentials."""

    def __init__(self, directory: Path) -> None:
        self.broker = DynsecBroker(directory, is_open=True)
        self._site = Site(directory, self.broker)
        (port,) = free_ports(1)
        self.url = f"http://{HOST}:{port}"
        self._port = port
        self._directory = directory
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._site.start()
        self._site.ingest(MQTT_ADMIN_URL=self.broker.admin_url, CREDENTIALS_KEY=KEY, INGEST_WORKERS="1")
        self.run("jobs", **FAST)
        settings = {"HTTP_HOST": HOST, "HTTP_PORT": str(self._port), "HTTP_AUTH": "off"}
        self.run("serving", **settings, CREDENTIALS_KEY=KEY)
        until(lambda: is_healthy(self._port), 60)
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait(60)
        self._site.end()

    def run(self, module: str, *words: str, **settings: str) -> None:
        environment = inherited_environment(DATABASE_URL=self._site.database_url, **settings)
        command = [sys.executable, "-m", module, *words]
        with (self._directory / f"{module}.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=log)
        self._processes.append(process)

    def run_homes(self) -> None:
        words = ["--mqtt-url", self.broker.mqtt_url, "--vens", str(HOMES), "--interval", "2"]
        self.run("local.fleet", *words, "--backfill", "1", "--opt-out", "0", "--mute", "0")

    def ask(self, path: str) -> Any:
        return httpx.get(f"{self.url}/api{path}", timeout=10).raise_for_status().json()


@pytest.fixture
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    with System(tmp_path_factory.mktemp("duty")) as system:
        yield system


class Farm:
    """A VEN with a password, which reports and never answers a command; then it sends what is no report."""

    def __init__(self, port: int, password: str) -> None:
        self.cut = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, FARM, reconnect_on_failure=False)
        self._client.username_pw_set(FARM, password)
        self._client.on_disconnect = lambda *_: self.cut.set()
        self.is_broken = threading.Event()
        self._end = threading.Event()
        self._client.connect(HOST, port)
        self._client.loop_start()
        self._thread = threading.Thread(target=self._report)
        self._thread.start()

    def _report(self) -> None:
        while not self._end.wait(1):
            self._client.publish(f"oadr/meter/{FARM}", self._payload(), qos=1)

    def _payload(self) -> str:
        if self.is_broken.is_set():
            return json.dumps({"timestamp": "soon", "usedPowerKw": 4})
        load = {"id": "cooling", "type": "hvac", "currentPowerKw": 3, "shedCapabilityKw": 3}
        return json.dumps({"timestamp": time.time(), "usedPowerKw": 4, "shedPowerKw": 0, "loads": [load]})

    def close(self) -> None:
        self._end.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()


class Day:
    """What a person does on the page; each page is looked at by axe."""

    def __init__(self, page: Page, system: System, name: str) -> None:
        self.page = page
        self.system = system
        self._name = name

    def go(self, view: str) -> None:
        self.page.get_by_role("link", name=view, exact=True).press("Enter")

    def press(self, name: str, within: str = "main") -> None:
        self.page.locator(within).get_by_role("button", name=name).press("Enter")

    def agree(self) -> None:
        expect(self.page.locator("#ask")).to_be_visible()
        self.page.locator("#ask-submit").press("Enter")
        expect(self.page.locator("#ask")).to_be_hidden()

    def look(self, what: str) -> None:
        assert barriers(self.page) == [], what
        width = self.page.evaluate("document.documentElement.scrollWidth")
        assert width <= self.page.evaluate("innerWidth"), what
        if folder := os.environ.get("SCREENSHOTS"):
            is_whole = self.page.locator("dialog[open]").count() == 0
            self.page.screenshot(path=f"{folder}/{self._name}-{what}.png", full_page=is_whole)

    def choose_file(self, content: str, folder: Path) -> None:
        file = folder / "fleet.csv"
        file.write_text(content)
        field = self.page.locator("#vens-import-form input")
        with self.page.expect_file_chooser() as chooser:
            field.press("Enter")
        chooser.value.set_files(file)
        self.press("Show what it would do", "#vens-import")

    def import_fleet(self, folder: Path) -> None:
        self.go("VENs")
        self.page.get_by_text("Import and export").press("Enter")
        self.choose_file(FLEET.replace("52.420", "152.42"), folder)
        expect(self.page.locator("#vens-import-message")).to_contain_text("1 of 9 lines are wrong")
        expect(self.page.locator("#vens-import-problems")).to_contain_text("degrees from -90 to 90")
        self.look("import-wrong")
        self.choose_file(FLEET, folder)
        expect(self.page.get_by_role("dialog")).to_contain_text("VENs: 9 new.")
        self.look("import")
        self.agree()
        expect(self.page.locator("#vens-count")).to_have_text("9 of 9 VENs")

    def watch_it_come_up(self) -> None:
        self.system.run_homes()
        online = self.page.locator("#vens-rows [data-status=online]")
        expect(online).to_have_count(HOMES)
        expect(self.page.locator("#places-caption")).to_contain_text("9 of 9 VENs have a place.")
        self.look("vens")
        self.go("Overview")
        expect(self.page.locator("#cards")).to_contain_text(f"{HOMES} of 9")
        expect(self.page.locator("#history-caption")).to_contain_text("Mean power")

    def make_password(self) -> str:
        self.page.evaluate(f"location.hash = '#/vens/{FARM}'")
        expect(self.page.locator("#ven-credential-none")).to_have_text("It has no password from here.")
        self.press("Make a password")
        self.agree_and_read()
        password = self.page.locator("#ven-password").inner_text()
        self.look("password")
        self.agree()
        expect(self.page.locator("#ven-credential-facts")).to_contain_text("active")
        return password

    def agree_and_read(self) -> None:
        expect(self.page.locator("#ask")).to_be_visible()
        self.page.locator("#ask-submit").press("Enter")
        expect(self.page.locator("#ven-password")).to_be_visible()

    def make_group(self, name: str) -> None:
        self.press("New group")
        dialog = self.page.locator("#ask")
        dialog.get_by_label("Name").fill(name)
        dialog.get_by_label("Regions").fill(name.lower())
        self.agree()
        expect(self.page.locator("#groups-table")).to_contain_text(name)

    def plan_event(self) -> str:
        self.go("Groups")
        self.make_group("North")
        self.make_group("South")
        self.go("Events")
        self.page.get_by_text("Plan an event").press("Enter")
        form = self.page.locator("#event-new form")
        form.get_by_label("Request, kW").fill("5")
        later = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() + 1_200))
        form.get_by_label("End", exact=True).fill(later)
        choose_all(form.get_by_label("Groups"))
        self.look("plan")
        self.press("Show what it would do", "#event-new")
        expect(self.page.get_by_role("dialog")).to_contain_text("9 VENs would be asked for 5.00 kW together")
        self.agree()
        expect(self.page.locator("#event-facts")).to_contain_text("running")
        expect(self.page.locator("#event-terms")).to_contain_text(
            re.compile("Targets: groups (North, South|South, North)")
        )
        return self.page.url.rpartition("/")[2].partition("?")[0]

    def see_one_misbehave(self) -> None:
        row = self.page.locator(f"#event-vens-rows tr[data-key={FARM}]")
        expect(row).to_contain_text("notified, not acknowledged yet")
        expect(self.page.locator("#event-vens-rows")).to_contain_text("delivers")
        expect(self.page.locator("#event-caption")).to_contain_text("Mean power of")
        self.look("event")

    def change_event(self, event_id: str) -> None:
        self.page.locator("#event-change > summary").press("Enter")
        field = self.page.locator("#event-change").get_by_label("Request, kW")
        expect(field).to_have_value("5")
        field.fill("4")
        self.press("Show what changes", "#event-change")
        expect(self.page.get_by_role("dialog")).to_contain_text("requestedReductionKw: 4")
        self.agree()
        expect(self.page.locator("#event-facts")).to_contain_text("4.00 kW")
        assert self.system.ask(f"/events/{event_id}")["requestedReductionKw"] == 4

    def see_it_settled(self, event_id: str) -> None:
        self.press("Stop event", "#event-actions")
        self.agree()
        expect(self.page.locator("#event-facts")).to_contain_text("past")
        until(lambda: bool(self.system.ask(f"/events/{event_id}")["isSettled"]), 90)
        expect(self.page.locator("#event-facts")).to_contain_text("settled")
        performance = self.page.locator("#event-performance")
        expect(performance).to_contain_text("settled")
        expect(performance).to_contain_text("In 90 % of cases betweennot known: fewer than five similar days")
        self.look("settled")

    def download_the_proof(self, event_id: str) -> None:
        with self.page.expect_download() as download:
            self.page.get_by_role("link", name="by VEN, CSV").press("Enter")
        assert download.value.suggested_filename == f"{event_id}-performance.csv"
        assert FARM in download.value.path().read_text()

    def find_out_why_it_is_silent(self) -> None:
        self.go("VENs")
        self.page.get_by_role("searchbox", name="Search").fill(FARM)
        self.page.get_by_role("link", name=FARM, exact=True).press("Enter")
        table = self.page.locator("#ven-rejected-table")
        expect(table).to_contain_text(f"oadr/meter/{FARM}")
        table.locator("summary").first.press("Enter")
        expect(table.locator("details[open] code")).to_contain_text('"soon"')
        self.look("silent")

    def revoke(self) -> None:
        self.press("Revoke the password")
        expect(self.page.get_by_role("dialog")).to_contain_text("ends its connections")
        self.agree()
        expect(self.page.locator("#ven-credential-facts")).to_contain_text(
            re.compile("^.*revoked", re.DOTALL)
        )
        self.look("revoked")


def choose_all(choices: Locator) -> None:
    choices.press("Home")
    choices.press("Shift+End")


@contextmanager
def reporting(system: System, password: str) -> Iterator[Farm]:
    farm = Farm(system.broker.port, password)
    try:
        yield farm
    finally:
        farm.close()


@pytest.mark.parametrize(
    ("name", "size", "scheme"), [("desk", DESK, "light"), ("phone", PHONE, "dark")], ids=["desk", "phone"]
)
def test_a_day_on_duty(
    browser: Browser, system: System, tmp_path: Path, name: str, size: Any, scheme: Any
) -> None:
    for page in opened(browser, system.url, size, color_scheme=scheme, accept_downloads=True):
        day = Day(page, system, name)
        day.import_fleet(tmp_path)
        day.watch_it_come_up()
        with reporting(system, day.make_password()) as farm:
            until(lambda: system.ask("/stats/network")["onlineVens"] == HOMES + 1, 60)
            event_id = day.plan_event()
            day.see_one_misbehave()
            day.change_event(event_id)
            day.see_it_settled(event_id)
            day.download_the_proof(event_id)
            farm.is_broken.set()
            until(lambda: system.ask(f"/vens/{FARM}/rejected") != [], 30)
            day.find_out_why_it_is_silent()
            assert not farm.cut.is_set()
            day.revoke()
            assert farm.cut.wait(CUT_WITHIN_S)
